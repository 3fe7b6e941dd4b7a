package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/images"
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
	k.problems = append(k.problems, k.at(key)+": "+fmt.Sprintf(format, args...))
}

// at is where a key is, or the table that has no such key.
func (k *checker) at(key string) string {
	line, at := 0, key
	for line == 0 && at != "" {
		line = k.lines[at]
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	return fmt.Sprintf("%s:%d: %s", k.file, max(1, line), index.ReplaceAllString(key, ""))
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
	k.power(&c.Power)
	k.duration("hold.default", c.Hold.Default, 0)
	for _, before := range c.Hold.Warn {
		k.duration("hold.warn", before, time.Second)
	}
	k.duration("queue.patience", c.Queue.Patience, 0)
	k.log(&c.Log)
	c.Expose.First, c.Expose.Last = k.ports("expose.ports", c.Expose.Ports)
	for _, image := range strings.Fields(c.Boot.Kernel) {
		k.image("boot.kernel", image)
	}
	if c.Boot.Firmware != "" {
		k.image("boot.firmware", c.Boot.Firmware)
	}
	k.network(&c.Network)
	k.virtual(&c.Virtual)
	k.machines(&c.Virtual, c.Network)
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

// log checks how much is kept of what nodes say.
func (k *checker) log(l *Log) {
	for _, size := range []struct {
		key, text string
		bytes     *int64
	}{{"log.size", l.Size, &l.Bytes}, {"log.node", l.Node, &l.NodeBytes}} {
		n := mebibytes(size.text)
		if n == 0 {
			k.wrong(size.key, `%q is not a size; want one as in "16M" or "1G"`, size.text)
		}
		*size.bytes = int64(n) << 20
	}
	k.duration("log.age", l.Age, 0)
}

// image checks the name of an image on the server.
func (k *checker) image(key, name string) {
	if !imageForm.MatchString(name) {
		k.wrong(key, `%q is not the name of an image; want one as in "alice/debian:12" or "pc-x86-64-default"`, name)
	}
}

// imageForm is a name of an image on the server, with its user or without.
var imageForm = regexp.MustCompile(`^([a-z][a-z0-9-]{0,31}/)?` + partForm + `(:` + partForm + `)?$`)

// partForm is a part of the name of an image, and of a domain.
const partForm = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`

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

var platformForm = regexp.MustCompile(`^linux/[a-z0-9]+(/v[0-9]+)?$`)

func (k *checker) model(key string, m Model, before []Model) {
	switch {
	case bad(images.ParseModel(m.Name)):
		k.wrong(key+"name", "%q is not a model; want lower-case letters, digits or -, 1 to 54 in all", m.Name)
	case slices.ContainsFunc(before, func(b Model) bool { return b.Name == m.Name }):
		k.wrong(key+"name", "%q is the name of another model too; names must differ", m.Name)
	}
	known := len(images.KnownPlatforms().Of(images.Model(m.Name))) > 0
	if !platformForm.MatchString(m.Platform) && !(known && m.Platform == "") {
		k.wrong(key+"platform", `%q is not a platform; want one like "linux/arm/v7" or "linux/riscv64"`, m.Platform)
	}
	if _, err := images.ParseBootArgs(m.Args); err != nil {
		k.wrong(key+"boot_args", "%s", fault.Reason(err))
	}
	if _, err := images.ParseConsole(m.Console); err != nil {
		k.wrong(key+"boot_console", `%q is no console; want one as in "ttyS1,115200" or "ttyAMA0"`, m.Console)
	}
}

// bad reports whether a text could not be parsed.
func bad[T any](_ T, err error) bool { return err != nil }

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
	if info.IsDir() {
		return "", fmt.Errorf("%s is a directory; want the file that holds it", path)
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
