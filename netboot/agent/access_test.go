//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

func TestWithKeys(t *testing.T) {
	const block = keysBegin + "\nA\nB\n" + keysEnd + "\n"
	for what, c := range map[string]struct{ text, want string }{
		"an empty file":            {"", block},
		"keys of others":           {"mine\n", "mine\n" + block},
		"a line without its end":   {"mine", "mine\n" + block},
		"keys of before":           {"mine\n" + keysBegin + "\nold\n" + keysEnd + "\nhers\n", "mine\n" + block + "hers\n"},
		"the same":                 {block + "hers\n", block + "hers\n"},
		"a block that has no end":  {"mine\n" + keysBegin + "\nold\n", "mine\n" + block},
		"an end without beginning": {"mine\n" + keysEnd + "\nhers\n", "mine\nhers\n" + block},
		"two blocks":               {keysBegin + "\nold\n" + keysEnd + "\nhers\n" + keysBegin + "\nolder\n" + keysEnd + "\n", block + "hers\n"},
	} {
		got := withKeys(c.text, []string{"A\n", " B"})
		if got != c.want {
			t.Errorf("%s becomes %q", what, got)
		}
		if again := withKeys(got, []string{"A", "B"}); again != got {
			t.Errorf("%s, a second time: %q", what, again)
		}
	}
}

// Images may have anything in the place of a file: none of it is waited for or read without
// end, and none is written through.
func TestMergeKeysOfHostileImages(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, []byte("theirs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const block = keysBegin + "\nkey\n" + keysEnd + "\n"
	for what, c := range map[string]struct {
		make func(name string) error
		want string
	}{
		"nothing":              {func(string) error { return nil }, block},
		"a pipe":               {func(name string) error { return unix.Mkfifo(name, 0o600) }, block},
		"a link to a file":     {func(name string) error { return os.Symlink(outside, name) }, "theirs\n" + block},
		"a link to nothing":    {func(name string) error { return os.Symlink("gone/away", name) }, block},
		"a link to itself":     {func(name string) error { return os.Symlink(filepath.Base(name), name) }, block},
		"what never ends":      {func(name string) error { return os.Symlink("/dev/zero", name) }, block},
		"what never says much": {func(name string) error { return os.Symlink("/proc/kmsg", name) }, block},
		"a huge file":          {func(name string) error { return os.WriteFile(name, make([]byte, smallFile+1), 0o600) }, block},
		"a file with holes": {func(name string) error {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(name, 1<<40)
		}, block},
	} {
		name := filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))
		if err := c.make(name); err != nil {
			t.Fatal(err)
		}
		if err := mergeKeys(name, []string{"key"}); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		info, err := os.Lstat(name)
		text, bad := os.ReadFile(name)
		if err != nil || bad != nil || info.Mode() != 0o600 || string(text) != c.want {
			t.Errorf("%s became %v, %q, %v", what, info, text, bad)
		}
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "theirs\n" {
		t.Errorf("written through the link: %q, %v", text, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys/full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mergeKeys(filepath.Join(dir, "keys"), []string{"key"}); err == nil {
		t.Error("a directory was replaced")
	}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func text(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// The agent's own server lets in whom the lines name, and certificates as OpenSSH does.
func TestGuests(t *testing.T) {
	mine, dumb, ca := newSigner(t), newSigner(t), newSigner(t)
	log := &record{}
	g := newGuests(instructions.Access{AuthorizedKeys: []string{
		text(mine.PublicKey()) + " alice", "no-pty " + text(dumb.PublicKey()) + " alice", "nonsense",
		`cert-authority,principals="alice,bob" ` + text(ca.PublicKey()), `cert-authority ` + text(mine.PublicKey()),
	}}, log)
	cert := func(by ssh.Signer, change func(*ssh.Certificate)) *ssh.Certificate {
		c := &ssh.Certificate{Key: newSigner(t).PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"bob"}, ValidBefore: ssh.CertTimeInfinity}
		c.Extensions = map[string]string{"permit-pty": ""}
		change(c)
		if err := c.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for what, c := range map[string]struct {
		key         ssh.PublicKey
		in, endowed bool
	}{
		"a key":                             {mine.PublicKey(), true, true},
		"one that gets no terminal":         {dumb.PublicKey(), true, false},
		"a stranger's":                      {newSigner(t).PublicKey(), false, false},
		"the authority itself":              {ca.PublicKey(), false, false},
		"a certificate":                     {cert(ca, func(*ssh.Certificate) {}), true, true},
		"one that gets none":                {cert(ca, func(c *ssh.Certificate) { c.Extensions = nil }), true, false},
		"of another authority":              {cert(newSigner(t), func(*ssh.Certificate) {}), false, false},
		"of an authority for nobody":        {cert(mine, func(*ssh.Certificate) {}), false, false},
		"for somebody else":                 {cert(ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root", "carol", "alice,bob"} }), false, false},
		"for nobody in particular":          {cert(ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }), false, false},
		"of a host":                         {cert(ca, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), false, false},
		"expired":                           {cert(ca, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Minute).Unix()) }), false, false},
		"with a command that it is not for": {cert(ca, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "node show"} }), false, false},
	} {
		p, err := g.let(c.key)
		if (err == nil) != c.in {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err != nil {
			continue
		}
		if _, none := p.Extensions[noTerminal]; none == c.endowed {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if !strings.Contains(log.String(), "an authorized key is none") {
		t.Errorf("the log: %s", log)
	}
}

// An order changes who may log in, in the connection that the agent has as in files.
func TestAdmit(t *testing.T) {
	m := newMachine(&record{})
	m.in = &instructions.Instructions{Access: instructions.Access{Version: "1"}}
	mine := newSigner(t).PublicKey()
	if _, err := m.guests().let(mine); err == nil {
		t.Error("a stranger came in")
	}
	m.orders.follow(instructions.Order{Access: &instructions.Access{Version: "2", AuthorizedKeys: []string{text(mine)}}})
	if _, err := m.guests().let(mine); err != nil {
		t.Error(err)
	}
	if r := m.report(); r.Access != "2" {
		t.Errorf("it tells %q", r.Access)
	}
	select {
	case <-m.admits:
	default:
		t.Error("the files stay as they were")
	}
	m.orders.follow(instructions.Order{Blink: 0})
	if got := fmt.Sprint(m.access().AuthorizedKeys); got != fmt.Sprint([]string{text(mine)}) {
		t.Errorf("another order changed it to %s", got)
	}
}
