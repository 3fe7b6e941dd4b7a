//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// access is who may log in now.
func (m *machine) access() instructions.Access {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.in.Access
}

// admit has others log in from now on.
func (m *machine) admit(a instructions.Access) {
	m.set(func() { m.in.Access = a })
	select {
	case m.admits <- struct{}{}:
	default:
	}
}

// accessAgain is how long after it failed it is tried again to write who may log in: a file
// system may be full, or read-only, for a while.
const accessAgain = 5 * time.Second

// keepAccess writes into the files of the image who may log in, whenever that has become
// another than was written last. Nothing waits for it, for it may wait: what is there may be
// on a network that is gone.
func (m *machine) keepAccess(written string, write func(instructions.Access) error) {
	for told := ""; ; {
		var again <-chan time.Time
		if a := m.access(); a.Version != written {
			err := write(a)
			if err == nil {
				written, told = a.Version, ""
			} else {
				again = time.After(accessAgain)
				if err.Error() != told {
					told = err.Error()
					m.log.logf("who may log in: %s", told)
				}
			}
		}
		select {
		case <-m.admits:
		case <-again:
		}
	}
}

// writeAccess writes who may log in, and what the machine shows them, into the files of the
// image.
func (m *machine) writeAccess(a instructions.Access) error {
	err := errors.Join(writeKeysBelow(rootAccount().home, a.AuthorizedKeys), mergeKeys(dropbearKeys, a.AuthorizedKeys))
	renewed, bad := writeHostCertificate(a.HostCertificate)
	if renewed && bad == nil {
		rereadConfig(m.address())
	}
	return errors.Join(err, bad)
}

// Where the servers of images look for the keys of root beside its home: OpenWrt's dropbear.
const dropbearKeys = "/etc/dropbear/authorized_keys"

// writeKeysBelow has the keys, and no others of ours, log in as root, whose home that is.
func writeKeysBelow(home string, keys []string) error {
	home = end(home)
	dir := end(path.Join(home, ".ssh"))
	err := errors.Join(os.MkdirAll(path.Dir(home), 0o755), os.MkdirAll(dir, 0o700), keepOthersOut(home))
	if dir == path.Join(home, ".ssh") { // what a link leads to is left as it is
		err = errors.Join(err, keepOthersOut(dir))
	}
	return errors.Join(err, mergeKeys(path.Join(dir, "authorized_keys"), keys))
}

// end is where the links lead that a path ends with, whether something is there or not.
func end(name string) string {
	for range 40 { // as many as Linux follows
		to, err := os.Readlink(name)
		if err != nil {
			break
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = to
	}
	return name
}

// keepOthersOut has a directory be root's, where nobody else writes: SSH servers take no key
// from another one.
func keepOthersOut(dir string) error {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	if err == nil && st.Uid != 0 {
		err = unix.Chown(dir, 0, -1)
	}
	if err == nil && st.Mode&0o022 != 0 {
		err = unix.Chmod(dir, st.Mode&0o7755)
	}
	return pathError("keep others out of", dir, err)
}

// mergeKeys writes the keys into a file, in place of those that were written before. One
// that is no file to be read begins anew.
func mergeKeys(name string, keys []string) error {
	old, err := readSmall(name)
	if err != nil {
		old = nil
	}
	text := withKeys(string(old), keys)
	if err == nil && text == string(old) {
		return nil
	}
	return exchange(name, []byte(text), 0o600)
}

// The lines around the keys of ours in a file that has others, too.
const (
	keysBegin = "# walt: those who may use this node; the server writes these lines"
	keysEnd   = "# walt: end"
)

// withKeys returns the text of a file with the keys in the place of those that it has of
// ours, or behind all that it has of others. What nobody ended is ours to its end.
func withKeys(text string, keys []string) string {
	block := keysBegin + "\n"
	for _, key := range keys {
		block += line(strings.TrimSpace(key))
	}
	block += keysEnd + "\n"
	var all strings.Builder
	ours, written := false, false
	for l := range strings.Lines(text) {
		switch l = strings.TrimSuffix(l, "\n"); {
		case l == keysBegin:
			if ours = true; !written {
				all.WriteString(block)
			}
			written = true
		case l == keysEnd:
			ours = false
		case !ours:
			all.WriteString(l + "\n")
		}
	}
	if !written {
		all.WriteString(block)
	}
	return all.String()
}

// hostCertificate is where OpenSSH's server finds the certificate of the node's key.
const hostCertificate = ownHostKey + "-cert.pub"

// writeHostCertificate writes that, unless it is there: renewed is that it was not.
func writeHostCertificate(cert string) (renewed bool, err error) {
	if old, err := readSmall(hostCertificate); err == nil && string(old) == line(cert) {
		return false, nil
	}
	return true, exchange(hostCertificate, []byte(line(cert)), 0o644)
}

// smallFile is how many bytes a file may have whose content matters here.
const smallFile = 4 << 20

// readSmall reads a file of an image, or what is one there: it does not wait for a pipe, nor
// read on without end.
func readSmall(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > smallFile {
		return nil, fmt.Errorf("%s is no file, or a large one", name)
	}
	var all bytes.Buffer
	for chunk := make([]byte, 64<<10); all.Len() <= smallFile; {
		n, err := unix.Read(fd, chunk)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return all.Bytes(), nil
		}
		all.Write(chunk[:n])
	}
	return nil, fmt.Errorf("%s has no end", name)
}

// exchange puts a file in place of what has its name, at once: who opens that meanwhile finds
// the one or the other.
func exchange(name string, content []byte, mode fs.FileMode) error {
	fresh := path.Join(path.Dir(name), ".walt-"+path.Base(name))
	if err := replace(fresh, content, mode); err != nil {
		return err
	}
	return os.Rename(fresh, name)
}

// rereadConfig has the SSH server of the image read its configuration again, as it does when
// it gets SIGHUP; see sshd(8). Others read it with each connection.
func rereadConfig(here netip.Addr) {
	sockets := listening(here)
	all, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if comm, bad := os.ReadFile("/proc/" + e.Name() + "/comm"); err != nil || bad != nil || string(comm) != "sshd\n" {
			continue
		}
		dir := "/proc/" + e.Name() + "/fd"
		files, _ := os.ReadDir(dir) // one that has ended has none
		if slices.ContainsFunc(files, func(f fs.DirEntry) bool {
			to, err := os.Readlink(path.Join(dir, f.Name()))
			return err == nil && slices.Contains(sockets, to)
		}) {
			unix.Kill(pid, unix.SIGHUP)
		}
	}
}

// guests are those who may log in by keys and by authorities.
type guests struct {
	version string
	keys    map[string]ssh.Permissions // by the key
	users   map[string][]string        // by the authority's key: whose certificates count
}

// Options of a key, and the names of what they make of a login.
const (
	noTerminal   = "no-pty"
	noForwarding = "no-port-forwarding"
)

// permits are the extensions of a certificate without which it is as a key with an option.
var permits = map[string]string{noTerminal: "permit-pty", noForwarding: "permit-port-forwarding"}

// newGuests reads lines of authorized_keys. Options but these are none of the server's.
func newGuests(a instructions.Access, log *record) *guests {
	g := &guests{version: a.Version, keys: map[string]ssh.Permissions{}, users: map[string][]string{}}
	for _, line := range a.AuthorizedKeys {
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			log.logf("an authorized key is none: %v", err)
			continue
		}
		shown := string(key.Marshal())
		if slices.Contains(options, "cert-authority") {
			for _, o := range options {
				if names, ok := strings.CutPrefix(o, "principals="); ok {
					g.users[shown] = append(g.users[shown], strings.Split(strings.Trim(names, `"`), ",")...)
				}
			}
			continue
		}
		p := ssh.Permissions{Extensions: map[string]string{}}
		for option := range permits {
			if slices.Contains(options, option) {
				p.Extensions[option] = ""
			}
		}
		g.keys[shown] = p
	}
	return g
}

var errStranger = errors.New("unknown")

// let lets a key or certificate in, or not.
func (g *guests) let(key ssh.PublicKey) (*ssh.Permissions, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		p, known := g.keys[string(key.Marshal())]
		if !known {
			return nil, errStranger
		}
		return &p, nil
	}
	if cert.CertType != ssh.UserCert || cert.Signature.Format == ssh.KeyAlgoRSA { // which is with SHA-1
		return nil, errStranger
	}
	for _, user := range g.users[string(cert.SignatureKey.Marshal())] {
		if !slices.Contains(cert.ValidPrincipals, user) {
			continue
		}
		if err := new(ssh.CertChecker).CheckCert(user, cert); err != nil {
			return nil, err
		}
		p := &ssh.Permissions{CriticalOptions: cert.CriticalOptions, Extensions: map[string]string{}}
		for option, permit := range permits {
			if _, has := cert.Extensions[permit]; !has {
				p.Extensions[option] = ""
			}
		}
		return p, nil
	}
	return nil, errStranger
}
