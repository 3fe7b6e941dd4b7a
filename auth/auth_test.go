package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/fault"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

var (
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.FixedZone("lab", 2*60*60))
	home = netip.MustParseAddr("10.1.2.3")
)

// lab is a lab with an empty store, in which it is always noon.
type lab struct {
	*Users
	store   state.Store
	journal *journal.Journal
}

func newLab(t testing.TB) lab {
	t.Helper()
	store, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	now := func() time.Time { return noon }
	log := journal.New(store, now)
	return lab{New(store, log, now), store, log}
}

// newTeam is a lab with the administrator alice and the user bob, who have one
// key each, made from their names.
func newTeam(t testing.TB) lab {
	t.Helper()
	l := newLab(t)
	ok(t, l.Ensure(t.Context(), "alice", line("alice")))
	_, err := l.Add(t.Context(), "alice", "bob", false, line("bob"))
	ok(t, err)
	return l
}

func (l lab) delete(t testing.TB, actor, name Name) error {
	_, err := l.store.Update(t.Context(), func(tx state.Tx) error { return l.Delete(tx, actor, name) })
	return err
}

// history returns the events, one "type actor to: detail [from from]" each.
func (l lab) history(t testing.TB) (all []string) {
	t.Helper()
	ok(t, l.journal.History(t.Context(), journal.At(time.Time{}), journal.At(noon.Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.From != "" {
			e.Detail += " from " + e.From
		}
		all = append(all, fmt.Sprintf("%s %s %s: %s", e.Type, e.Actor, e.To, e.Detail))
		return nil
	})))
	return all
}

func signer(name string) ssh.Signer {
	seed := sha256.Sum256([]byte(name))
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

func public(name string) ssh.PublicKey { return signer(name).PublicKey() }

func fingerprint(name string) string { return ssh.FingerprintSHA256(public(name)) }

// line is the line of authorized_keys for the key of that name.
func line(name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public(name)))) + " " + name + "@home\n"
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that err is for users, says all of the words and has a hint.
func refused(t testing.TB, err error, words ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("not a fault: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(f.Msg+"\n"+f.Hint, w) {
			t.Errorf("fault %q (%q) does not say %q", f.Msg, f.Hint, w)
		}
	}
}
