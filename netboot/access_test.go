package netboot_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/netboot/instructions"
	"walt/netboot/netboottest"
)

// certifies returns the name that the certificate of a machine's instructions or order gives
// its host key, as a client finds that out which trusts the lab's authority.
func certifies(t *testing.T, a instructions.Access, hostKey, name string) {
	t.Helper()
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a.HostCertificate))
	cert, ok := parsed.(*ssh.Certificate)
	private, bad := ssh.ParsePrivateKey([]byte(hostKey))
	if err = errors.Join(err, bad); err != nil || !ok {
		t.Fatalf("the certificate %q: %v", a.HostCertificate, err)
	}
	checker := ssh.CertChecker{IsHostAuthority: func(key ssh.PublicKey, _ string) bool {
		return slices.Equal(key.Marshal(), netboottest.HostCA().PublicKey().Marshal())
	}}
	if err := checker.CheckHostKey(name+":22", nil, cert); err != nil || !slices.Equal(cert.Key.Marshal(), private.PublicKey().Marshal()) {
		t.Errorf("the certificate of %s: %v, of the key %s", name, err, ssh.FingerprintSHA256(cert.Key))
	}
	if err := checker.CheckHostKey("other:22", nil, cert); err == nil {
		t.Error("it is for any name")
	}
}

// Machines are told who may log in when they boot, and again when that changes; earlier
// agents, which do not know such an order, are not.
func TestAccess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Admit("one", "ssh-ed25519 AAAA alice")
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	if !slices.Equal(i.AuthorizedKeys[1:], []string{"ssh-ed25519 AAAA alice"}) || !strings.HasPrefix(i.AuthorizedKeys[0], "ssh-ed25519 AAAAC3") {
		t.Errorf("the keys %q", i.AuthorizedKeys)
	}
	certifies(t, i.Access, i.HostKey, "one")
	up := netboottest.ReportOf(i, instructions.Up)
	up.Access = i.Access.Version
	agent := f.AsAgent(one, up)
	f.Hears("one up at 127.0.0.2:22")
	orders := json.NewDecoder(agent)
	access := func() instructions.Access {
		t.Helper()
		for {
			var o instructions.Order
			if err := orders.Decode(&o); err != nil {
				t.Fatal(err)
			}
			if o.Access != nil {
				return *o.Access
			}
		}
	}
	f.Readmit(t.Context()) // for nothing: the next order is about what follows
	f.Admit("one")
	f.Readmit(t.Context())
	free := access()
	if len(free.AuthorizedKeys) != 1 || free.Version == i.Access.Version {
		t.Errorf("without alice: %+v", free)
	}
	f.Renamed(one.MAC, "bench")
	f.Admit("bench", "ssh-ed25519 BBBB bob")
	f.Report(agent, up) // as agents do all the time; this one has not taken the last order yet
	renamed := access()
	if !slices.Equal(renamed.AuthorizedKeys[1:], []string{"ssh-ed25519 BBBB bob"}) {
		t.Errorf("renamed: %q", renamed.AuthorizedKeys)
	}
	certifies(t, renamed, i.HostKey, "bench")

	// It connects again with what it was ordered last, and then with what it had before.
	up.Access = renamed.Version
	agent = f.AsAgent(one, up)
	orders = json.NewDecoder(agent)
	f.Hears("bench up at 127.0.0.2:22")
	f.Admit("bench", "ssh-ed25519 CCCC carol")
	f.Readmit(t.Context())
	if got := access(); !slices.Equal(got.AuthorizedKeys[1:], []string{"ssh-ed25519 CCCC carol"}) {
		t.Errorf("after it connected again: %q", got.AuthorizedKeys)
	}

	up.Access = ""
	agent = f.AsAgent(one, up)
	f.Hears("bench up at 127.0.0.2:22")
	f.Admit("bench")
	f.Readmit(t.Context())
	f.Report(agent, up)
	if err := agent.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	all, _ := io.ReadAll(bufio.NewReader(agent)) // ends with the deadline
	if strings.Contains(string(all), "access") {
		t.Errorf("an earlier agent is told: %s", all)
	}
}

// The host key of a node is the same whatever its name is, until it is removed.
func TestHostSigners(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, err := f.HostSigners(t.Context(), one.MAC, "one")
	if err != nil || len(first) != 2 || first[0].PublicKey().Type() != ssh.KeyAlgoED25519 || first[1].PublicKey().Type() != ssh.CertAlgoED25519v01 {
		t.Fatal(first, err)
	}
	f.Start()
	again, err := f.HostSigners(t.Context(), one.MAC, "bench")
	if err != nil || !slices.Equal(again[0].PublicKey().Marshal(), first[0].PublicKey().Marshal()) {
		t.Errorf("after a restart it is another one: %v", err)
	}
	if err := f.Forget(t.Context(), one.MAC); err != nil {
		t.Fatal(err)
	}
	if key, err := f.HostKey(t.Context(), one.MAC); key != nil || err != nil {
		t.Errorf("of a node that was removed: %v, %v", key, err)
	}
}
