//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// The home of root is what an image makes of it: SSH servers take no key from one that others
// could write to, and none where the keys could not be written.
func TestHomesOfImages(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it makes files of others")
	}
	const block = keysBegin + "\nkey\n" + keysEnd + "\n"
	for what, c := range map[string]struct {
		make func(home string) error
		want string
	}{
		"none": {func(string) error { return nil }, block},
		"somebody else's": {func(home string) error {
			name := filepath.Join(home, ".ssh/authorized_keys")
			return errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, []byte("theirs\n"), 0o666),
				os.Chmod(home, 0o777), os.Chmod(filepath.Dir(name), 0o2775), os.Chown(home, 7, 8), os.Chown(filepath.Dir(name), 7, 8), os.Chown(name, 7, 8))
		}, "theirs\n" + block},
		"a link to where nothing is": {func(home string) error { return os.Symlink("var/later", home) }, block},
		"a link to a link": {func(home string) error {
			return errors.Join(os.Symlink("next", home), os.Symlink("last", filepath.Dir(home)+"/next"))
		}, block},
		"one whose .ssh leads elsewhere": {func(home string) error {
			return errors.Join(os.Mkdir(home, 0o700), os.Symlink("../keys", home+"/.ssh"))
		}, block},
	} {
		home := filepath.Join(t.TempDir(), "root")
		if err := c.make(home); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(home, ".ssh/authorized_keys")
		if err := writeKeysBelow(home, []string{"key"}); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if text, err := os.ReadFile(name); err != nil || string(text) != c.want {
			t.Errorf("%s has %q, %v", what, text, err)
		}
		for _, name := range []string{home, filepath.Dir(name), name} {
			var st unix.Stat_t
			if err := unix.Stat(name, &st); err != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
				t.Errorf("%s: %s is of %d, %o, %v", what, name, st.Uid, st.Mode, err)
			}
		}
	}
}

// A key opens root's account where a password was locked; nothing else is changed.
func TestOpenAccount(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shadow")
	for before, want := range map[string]string{
		"bin:!:1::::::\nroot:!::0:::::\nx:*:1":   "bin:!:1::::::\nroot:*::0:::::\nx:*:1",
		"root:!locked:19000:0:99999:7:::\n":      "root:*:19000:0:99999:7:::\n",
		"root:*:1::::::\n":                       "root:*:1::::::\n",
		"root:$6$a$b:1::::::\nrooter:!:::::::\n": "root:$6$a$b:1::::::\nrooter:!:::::::\n",
		"root:!\n":                               "root:!\n",
	} {
		if err := errors.Join(os.WriteFile(name, []byte(before), 0o640), os.Chmod(name, 0o640), openAccount(name)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		got, bad := os.ReadFile(name)
		if err != nil || bad != nil || string(got) != want || info.Mode() != 0o640 {
			t.Errorf("%q becomes %q, %v, %v", before, got, info, errors.Join(err, bad))
		}
	}
	if err := openAccount(name + ".gone"); err != nil {
		t.Error(err)
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
	mine, dumb, tied, ca := newSigner(t), newSigner(t), newSigner(t), newSigner(t)
	log := &record{}
	g := newGuests(instructions.Access{AuthorizedKeys: []string{
		text(mine.PublicKey()) + " alice", "no-pty " + text(dumb.PublicKey()) + " alice", "nonsense",
		"no-port-forwarding,no-agent-forwarding " + text(tied.PublicKey()) + " alice",
		`cert-authority,principals="alice,bob" ` + text(ca.PublicKey()), `cert-authority ` + text(mine.PublicKey()),
	}}, log)
	cert := func(by ssh.Signer, change func(*ssh.Certificate)) *ssh.Certificate {
		c := &ssh.Certificate{Key: newSigner(t).PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"bob"}, ValidBefore: ssh.CertTimeInfinity}
		c.Extensions = map[string]string{"permit-pty": "", "permit-port-forwarding": ""}
		change(c)
		if err := c.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for what, c := range map[string]struct {
		key  ssh.PublicKey
		in   bool
		lack string // what it may not
	}{
		"a key":                             {mine.PublicKey(), true, ""},
		"one that forwards nothing":         {tied.PublicKey(), true, "no-port-forwarding"},
		"one that gets no terminal":         {dumb.PublicKey(), true, "no-pty"},
		"a stranger's":                      {newSigner(t).PublicKey(), false, ""},
		"the authority itself":              {ca.PublicKey(), false, ""},
		"a certificate":                     {cert(ca, func(*ssh.Certificate) {}), true, ""},
		"one that gets none":                {cert(ca, func(c *ssh.Certificate) { c.Extensions = nil }), true, "no-port-forwarding no-pty"},
		"of another authority":              {cert(newSigner(t), func(*ssh.Certificate) {}), false, ""},
		"of an authority for nobody":        {cert(mine, func(*ssh.Certificate) {}), false, ""},
		"for somebody else":                 {cert(ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root", "carol", "alice,bob"} }), false, ""},
		"for nobody in particular":          {cert(ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }), false, ""},
		"of a host":                         {cert(ca, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), false, ""},
		"expired":                           {cert(ca, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Minute).Unix()) }), false, ""},
		"with a command that it is not for": {cert(ca, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "node show"} }), false, ""},
	} {
		p, err := g.let(c.key)
		if (err == nil) != c.in {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err != nil {
			continue
		}
		if lack := strings.Join(slices.Sorted(maps.Keys(p.Extensions)), " "); lack != c.lack {
			t.Errorf("%s lacks %s, want %s", what, lack, c.lack)
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

// Who may log in is written again and again while it cannot be, as on a disk that is full: else
// who may no more would still get in. That it cannot be is noted once.
func TestKeepAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &record{}
		m := newMachine(log)
		m.in = &instructions.Instructions{Access: instructions.Access{Version: "1"}}
		m.admits = make(chan struct{}, 1) // of the bubble
		var mu sync.Mutex                 // for the race detector, which takes time for no order
		var all []string
		full := true
		go m.keepAccess("1", func(a instructions.Access) error {
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, a.Version); a.Version == "end" {
				runtime.Goexit()
			}
			if full {
				return unix.ENOSPC
			}
			return nil
		})
		become := func(version string) {
			m.orders.follow(instructions.Order{Access: &instructions.Access{Version: version}})
			synctest.Wait()
		}
		wrote := func(want string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(all, " "); got != want {
				t.Errorf("it wrote %s, want %s", got, want)
			}
			full, all = !full, nil
		}
		synctest.Wait()
		become("2")
		time.Sleep(3*accessAgain + time.Second)
		wrote("2 2 2 2")
		time.Sleep(100 * accessAgain)
		wrote("2")
		become("3")
		become("end")
		wrote("3 end")
		if n := strings.Count(log.String(), "who may log in: no space left"); n != 2 {
			t.Errorf("the log says so %d times: %s", n, log)
		}
	})
}
