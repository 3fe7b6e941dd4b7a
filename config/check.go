package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// checker collects what is wrong with values that have the right type, and
// reads the files that they name.
type checker struct {
	file     string
	lines    map[string]int
	problems []string
}

// wrong notes a problem with the value of a key, or of the table that has no
// such key.
func (k *checker) wrong(key, format string, args ...any) {
	line, at := 0, key
	for line == 0 && at != "" {
		line = k.lines[at]
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	name := index.ReplaceAllString(key, "")
	k.problems = append(k.problems, fmt.Sprintf("%s:%d: %s: %s", k.file, max(1, line), name, fmt.Sprintf(format, args...)))
}

var index = regexp.MustCompile(`\[\d+\]`)

func (k *checker) config(c *Config) {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !isPort(port) {
		k.wrong("listen", `%q is not an address to listen on; want ":PORT" or "HOST:PORT"`, c.Listen)
	}
	if c.Data == "" {
		k.wrong("data", "is empty; want a directory")
	}
	c.Data = k.path(c.Data)
	for i := range c.Registries {
		k.registry(fmt.Sprintf("registry[%d].", i), &c.Registries[i], c.Registries[:i])
	}
	for i, m := range c.Models {
		k.model(fmt.Sprintf("model[%d].", i), m, c.Models[:i])
	}
	k.docker(c.Docker.Host)
	k.duration("power.idle", c.Power.Idle, 0)
	for _, of := range []struct{ key, image string }{{"boot.kernel", c.Boot.Kernel}, {"boot.firmware", c.Boot.Firmware}} {
		if of.image != "" && !imageForm.MatchString(of.image) {
			k.wrong(of.key, `%q is not the name of an image; want one as in "alice/debian:12" or "pc-x86-64-default"`, of.image)
		}
	}
	k.network(&c.Network)
	k.virtual(&c.Virtual)
	if c.SSH.MaxConnections < 1 {
		k.wrong("ssh.max_connections", "%d is too small; want at least 1", c.SSH.MaxConnections)
	}
	k.duration("ssh.login_grace", c.SSH.LoginGrace, time.Second)
	k.duration("ssh.idle_timeout", c.SSH.IdleTimeout, 0)
	if c.SSH.UserCAFile != "" {
		c.SSH.UserCAFile = k.path(c.SSH.UserCAFile)
		var err error
		if c.SSH.UserCA, err = readKeys(c.SSH.UserCAFile); err != nil {
			k.wrong("ssh.user_ca", "%v", err)
		}
	}
}

// imageForm is a name of an image on the server, with its user or without.
var imageForm = regexp.MustCompile(`^([a-z][a-z0-9-]{0,31}/)?` + partForm + `(:` + partForm + `)?$`)

const partForm = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`

// domainForm is a domain of DNS. With the name of a node before it, it must be a name, too:
// of at most 253 characters.
var domainForm = regexp.MustCompile(`^` + labelOfDomain + `(\.` + labelOfDomain + `)*$`)

const (
	labelOfDomain = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	longestDomain = 253 - 64
)

func (k *checker) network(n *Network) {
	n.Loaders = k.path(n.Loaders)
	if n.Interface == "" && *n != base().Network {
		k.wrong("network.interface", "is missing; want the network interface that boards and PCs are on, as in \"eth1\"")
	}
	if !slices.Contains([]string{"full", "proxy", "off"}, n.DHCP) {
		k.wrong("network.dhcp", `%q is nothing to do of DHCP; want "full" to give addresses, "proxy" to tell only what to boot, beside a server that gives them, or "off"`, n.DHCP)
	}
	if n.Domain != "" && (!domainForm.MatchString(n.Domain) || len(n.Domain) > longestDomain) {
		k.wrong("network.domain", `%q is no domain; want one in lower case, as in "lab.example"`, n.Domain)
	}
	if n.Range != "" && n.DHCP != "full" {
		k.wrong("network.range", "is for dhcp = \"full\" alone, which gives addresses; remove it")
	}
	k.tftpPorts(n)
	n.Addr = k.address("network.address", n.Address)
	n.RouterAddr, n.DNSAddr = k.address("network.router", n.Router), k.address("network.dns", n.DNS)
	if n.Range == "" {
		return
	}
	first, last, _ := strings.Cut(n.Range, "-")
	var bad [2]error
	n.First, bad[0] = netip.ParseAddr(strings.TrimSpace(first))
	n.Last, bad[1] = netip.ParseAddr(strings.TrimSpace(last))
	switch {
	case errors.Join(bad[:]...) != nil || !n.First.Is4() || !n.Last.Is4():
		k.wrong("network.range", `%q is no range; want two addresses of IPv4, as in "192.168.7.100-192.168.7.199"`, n.Range)
	case n.Last.Less(n.First):
		k.wrong("network.range", `%q ends before it begins; want the lower address first`, n.Range)
	}
}

func (k *checker) tftpPorts(n *Network) {
	if n.TFTPPorts == "" {
		return
	}
	const least = 1024 // below are ports of services
	first, last, _ := strings.Cut(n.TFTPPorts, "-")
	from, bad := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	to, worse := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if errors.Join(bad, worse) != nil || from < least || to < from {
		k.wrong("network.tftp_ports", `%q are no ports; want two from %d on, as in "30000-30099"`, n.TFTPPorts, least)
		return
	}
	n.FirstPort, n.LastPort = uint16(from), uint16(to)
}

// address is one of IPv4, the zero Addr for "".
func (k *checker) address(key, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		k.wrong(key, `%q is no IPv4 address; want one as in "192.168.7.1"`, s)
	}
	return a
}

func (k *checker) virtual(v *Virtual) {
	if !slices.Contains([]string{"auto", "qemu", "simulated"}, v.Kind) {
		k.wrong("virtual.kind", `%q is no kind of virtual nodes; want "auto", "qemu" or "simulated"`, v.Kind)
	}
	if v.Boot != "direct" && v.Boot != "pxe" {
		k.wrong("virtual.boot", `%q is no way for machines to boot; want "direct" or "pxe"`, v.Boot)
	}
	net, err := netip.ParsePrefix(v.Subnet)
	if err != nil || !net.Addr().Is4() || !net.Addr().IsPrivate() || net != net.Masked() || net.Bits() > 29 {
		k.wrong("virtual.subnet", `%q is not a private IPv4 network; want one as in "10.217.0.0/20"`, v.Subnet)
	}
	v.Net = net
	if v.Memory != "" {
		if v.RAM = mebibytes(v.Memory); v.RAM == 0 {
			k.wrong("virtual.memory", `%q is not a size; want one as in "8G" or "512M"`, v.Memory)
		}
	}
	if v.CPUs < 0 || v.CPUs > 256 {
		k.wrong("virtual.cpus", "%d is not a number of processors; want 1 to 256, or 0 for as many as there are", v.CPUs)
	}
	if v.Max < 0 {
		k.wrong("virtual.max", "%d is too small; want at least 1, or 0 for any number", v.Max)
	}
}

// mebibytes is a size as in 512M or 8G, 0 when it is none.
func mebibytes(s string) int {
	number, gigabytes := strings.CutSuffix(strings.ToUpper(s), "G")
	if !gigabytes {
		var is bool
		if number, is = strings.CutSuffix(strings.ToUpper(s), "M"); !is {
			return 0
		}
	}
	n, err := strconv.ParseUint(number, 10, 24)
	switch {
	case err != nil:
		return 0
	case gigabytes:
		return int(n) << 10
	}
	return int(n)
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func (k *checker) duration(key string, d Duration, least time.Duration) {
	switch {
	case d.wrong != "":
		k.wrong(key, `%q is not a duration; want one in quotes, as in "30s" or "2h"`, d.wrong)
	case d.Duration < least:
		k.wrong(key, "%v is too short; want at least %v", d, least)
	}
}

// path makes a path of the file one that is valid anywhere.
func (k *checker) path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(k.file), path)
}

var (
	labelForm   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
	accountForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,253}[a-z0-9])?$`)
	locations   = []string{"walt", "docker"} // that links name besides registries
)

var (
	modelForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?$`)
	platformForm = regexp.MustCompile(`^linux/[a-z0-9]+(/v[0-9]+)?$`)
)

func (k *checker) model(key string, m Model, before []Model) {
	switch {
	case !modelForm.MatchString(m.Name):
		k.wrong(key+"name", "%q is not a model; want lower-case letters, digits or -, 1 to 54 in all", m.Name)
	case slices.ContainsFunc(before, func(b Model) bool { return b.Name == m.Name }):
		k.wrong(key+"name", "%q is the name of another model too; names must differ", m.Name)
	}
	if !platformForm.MatchString(m.Platform) {
		k.wrong(key+"platform", `%q is not a platform; want one like "linux/arm/v7" or "linux/riscv64"`, m.Platform)
	}
}

func (k *checker) registry(key string, r *Registry, before []Registry) {
	r.URL, r.SearchURL = strings.TrimSuffix(r.URL, "/"), strings.TrimSuffix(r.SearchURL, "/")
	if r.Label == hub.Label {
		r.URL = cmp.Or(r.URL, hub.URL)
	}
	switch {
	case !labelForm.MatchString(r.Label):
		k.wrong(key+"label", "%q is not a label; want a lower-case letter, then lower-case letters, digits or -, 1 to 32 in all", r.Label)
	case slices.Contains(locations, r.Label):
		k.wrong(key+"label", "%q is reserved; choose another label", r.Label)
	}
	if slices.ContainsFunc(before, func(b Registry) bool { return b.Label == r.Label }) {
		k.wrong(key+"label", "%q is the label of another registry too; labels must differ", r.Label)
	}
	if why := badURL(r.URL); why != "" {
		k.wrong(key+"url", `%s; want "http://HOST[:PORT]" or "https://HOST[:PORT]"`, why)
	}
	k.search(key, r)
	if (r.Username == "") != (r.PasswordFile == "") {
		k.wrong(key+"username", "username and password_file go together; give both or none")
	}
	var err error
	if r.PasswordFile != "" {
		r.PasswordFile = k.path(r.PasswordFile)
		if r.Password, err = readPassword(r.PasswordFile); err != nil {
			k.wrong(key+"password_file", "%v", err)
		}
	}
	if r.CAFile != "" {
		r.CAFile = k.path(r.CAFile)
		if r.CA, err = readCA(r.CAFile); err != nil {
			k.wrong(key+"ca_file", "%v", err)
		}
	}
}

// search checks what says how Docker Hub is searched: registries list what they
// have.
func (k *checker) search(key string, r *Registry) {
	switch {
	case r.Label != hub.Label && r.Accounts != nil:
		k.wrong(key+"accounts", "is for the registry with the label %q alone; remove it", hub.Label)
	case r.Label != hub.Label && r.SearchURL != "":
		k.wrong(key+"search_url", "is for the registry with the label %q alone; remove it", hub.Label)
	case r.SearchURL != "" && badURL(r.SearchURL) != "":
		k.wrong(key+"search_url", `%s; want "http://HOST[:PORT]" or "https://HOST[:PORT]"`, badURL(r.SearchURL))
	}
	for _, a := range r.Accounts {
		if !accountForm.MatchString(a) {
			k.wrong(key+"accounts", "%q is not an account of Docker Hub; want lower-case letters, digits, - and _", a)
		}
	}
}

// badURL tells what is wrong with the URL of a registry.
func badURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "is missing"
	case err == nil && u.User != nil: // first, so that no password is repeated
		return "names a user; use username and password_file"
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return fmt.Sprintf("%q is not a URL of a registry", s)
	}
	return ""
}

func (k *checker) docker(host string) {
	if host == "" {
		return
	}
	u, err := url.Parse(host)
	if err == nil && (u.Scheme == "unix" && u.Host == "" && u.Path != "" ||
		slices.Contains([]string{"tcp", "http", "https"}, u.Scheme) && u.Hostname() != "") {
		return
	}
	k.wrong("docker.host", `%q is not an address of a docker daemon; want "unix:///PATH", "tcp://HOST:PORT", or "" for none`, host)
}

func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("others can read %s (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	if content, err = plainText(path, content); err != nil {
		return "", err
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("%s must hold one line, the password", path)
	}
	return password, nil
}

func readCA(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// readKeys reads public keys, one a line, as ssh-keygen writes them.
func readKeys(path string) ([]ssh.PublicKey, error) {
	content, err := os.ReadFile(path)
	if err == nil {
		content, err = plainText(path, content)
	}
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		if err == nil && len(options) > 0 {
			err = errors.New("options are not used here")
		}
		if err != nil {
			return nil, fmt.Errorf("%s holds a line that is not a public key as in .pub files of ssh-keygen: %w", path, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no public key", path)
	}
	return keys, nil
}

// plainText returns the content of a text file without the byte-order mark that
// editors of other systems begin it with.
func plainText(path string, content []byte) ([]byte, error) {
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return nil, fmt.Errorf("%s is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 %s", path, path)
	}
	return bytes.TrimPrefix(content, []byte("\ufeff")), nil
}
