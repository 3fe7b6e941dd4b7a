package auth

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/state"
)

// keyLine is the line of an Admission for the key of that name.
func keyLine(key string, user Name) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public(key)))) + " " + string(user)
}

func TestAdmitted(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	now := noon
	l.now = func() time.Time { return now }
	admitted := func(want []string, users ...Name) *Admission {
		t.Helper()
		a, err := l.Admitted(t.Context(), users...)
		ok(t, err)
		if !slices.Equal(a.Lines, want) {
			t.Errorf("admitted for %v: %q, want %q", users, a.Lines, want)
		}
		return a
	}
	admits := func(key ssh.PublicKey, want bool, users ...Name) {
		t.Helper()
		if got, err := l.Admits(t.Context(), key, users...); err != nil || got != want {
			t.Errorf("%v admit %s: %v, %v", users, ssh.FingerprintSHA256(key), got, err)
		}
	}
	alice, bob := keyLine("alice", "alice"), keyLine("bob", "bob")
	first := admitted([]string{alice}, "alice")
	admitted([]string{alice, bob}, "bob", "alice", "nobody", "bob")
	admitted([]string{alice, bob}, "bob", Everybody)
	admitted(nil, Nobody)
	admits(public("bob"), true, "alice", "bob")
	admits(public("bob"), true, Everybody)
	admits(public("bob"), false, "alice")
	admits(public("stranger"), false, Everybody)

	// One that runs one command is for that alone, one that expires is let in until then, and
	// where it may come from is heeded by the server.
	_, err := l.AddKeys(t.Context(), "bob", "bob", `command="node show" `+line("ci")+
		`from="10.0.0.0/8",expiry-time="202603141201",no-pty `+line("guest")+`restrict,pty `+line("desk"))
	ok(t, err)
	guest, desk := "no-pty "+keyLine("guest", "bob"), "no-port-forwarding,no-agent-forwarding,no-X11-forwarding "+keyLine("desk", "bob")
	if a := admitted([]string{bob, guest, desk}, "bob"); !a.Until.Equal(noon.Add(time.Minute + time.Second)) {
		t.Errorf("until %v", a.Until)
	}
	admits(public("ci"), false, "bob")
	admits(public("guest"), true, "bob")
	now = noon.Add(time.Minute + time.Second)
	if a := admitted([]string{bob, desk}, "bob"); !a.Until.IsZero() {
		t.Errorf("until %v", a.Until)
	}
	admits(public("guest"), false, "bob")

	// What is removed is not let in, and what others have does not change by that.
	_, err = l.RemoveKey(t.Context(), "alice", fingerprint("bob"))
	ok(t, err)
	admitted([]string{desk}, "bob")
	admits(public("bob"), false, "bob")
	ok(t, l.delete(t, "alice", "bob"))
	admitted(nil, "bob")
	admits(public("desk"), false, "bob")
	if again := admitted([]string{alice}, "alice"); again.Version != first.Version {
		t.Error("the keys of alice changed")
	}
}

// TestAdmittedComment has a key in the store whose comment would be a line of its own.
func TestAdmittedComment(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	k := Key{Fingerprint: fingerprint("bob"), User: "bob"}
	_, err := l.store.Update(t.Context(), func(tx state.Tx) (err error) {
		if k, err = keyTable.Get(tx, k.Fingerprint); err != nil {
			return err
		}
		k.Comment = "bob\n" + keyLine("evil", "bob") + "\x1b[2J"
		return keyTable.Put(tx, k.Fingerprint, k)
	})
	ok(t, err)
	a, err := l.Admitted(t.Context(), "bob")
	ok(t, err)
	if want := []string{keyLine("bob", "bob")}; !slices.Equal(a.Lines, want) {
		t.Errorf("admitted: %q, want %q", a.Lines, want)
	}
}

func TestAdmittedCertificates(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ca := signer("ca")
	ok(t, l.present.follow(t.Context()))
	for len(l.Readmit()) > 0 {
		<-l.Readmit()
	}
	l.SetCA([]ssh.PublicKey{ca.PublicKey()})
	select {
	case <-l.Readmit():
	default:
		t.Error("a change of the authorities changes nothing")
	}
	a, err := l.Admitted(t.Context(), "bob", "alice")
	ok(t, err)
	want := []string{`cert-authority,principals="alice,bob" ` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(ca.PublicKey()))), keyLine("alice", "alice"), keyLine("bob", "bob")}
	if !slices.Equal(a.Lines, want) {
		t.Errorf("admitted: %q, want %q", a.Lines, want)
	}
	cert := func(change func(*ssh.Certificate)) *ssh.Certificate { return certificate(t, ca, change) }
	forged := cert(nil)
	ok(t, forged.SignCert(rand.Reader, signer("another ca")))
	for _, test := range []struct {
		name  string
		cert  *ssh.Certificate
		users []Name
		want  bool
	}{
		{"the owner's", cert(nil), []Name{"alice", "bob"}, true},
		{"everybody's", cert(nil), []Name{Everybody}, true},
		{"another's", cert(nil), []Name{"bob"}, false},
		{"of another authority", forged, []Name{"alice"}, false},
		{"of nobody in particular", cert(func(c *ssh.Certificate) { c.ValidPrincipals = nil }), []Name{"alice"}, false},
		{"for root, who is no user", cert(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root", "all", "*"} }), []Name{"alice", Everybody}, false},
		{"for one command", cert(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{forceCommand: "node show"} }), []Name{"alice"}, false},
		{"from some addresses", cert(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{sourceAddress: "0.0.0.0/0"} }), []Name{"alice"}, false},
		{"expired", cert(func(c *ssh.Certificate) { c.ValidBefore = uint64(noon.Unix()) }), []Name{"alice"}, false},
	} {
		if got, err := l.Admits(t.Context(), test.cert, test.users...); err != nil || got != test.want {
			t.Errorf("%s: %v, %v", test.name, got, err)
		}
	}
}

// TestAdmittedMany is a lab with more keys than a node should be given.
func TestAdmittedMany(t *testing.T) {
	t.Parallel()
	p := newPresent(nil)
	for i := range 8000 {
		name, print := Name(fmt.Sprintf("user-%05d", i)), fmt.Sprint(i)
		p.userRows[name] = record{User: User{Name: name}, Keys: []string{print}}
		p.keyRows[print] = Key{Fingerprint: print, User: name, Type: "ssh-ed25519", Blob: strings.Repeat("A", 68)}
	}
	all := []Name{Everybody}
	a := p.admission(all, noon, []string{"ssh-ed25519 CA"})
	size := len(strings.Join(a.Lines, ""))
	if size > mostAdmitted || size < mostAdmitted-200 || !strings.HasSuffix(a.Lines[80], " user-00000") {
		t.Errorf("%d bytes in %d lines; the first is %s", size, len(a.Lines), a.Lines[80])
	}
	for i, line := range a.Lines {
		if len(line) > 8<<10 {
			t.Errorf("line %d has %d bytes", i, len(line))
		}
	}
	if p.admission(all, noon, nil) != a {
		t.Error("it was made twice")
	}
}
