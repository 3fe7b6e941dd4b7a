package history

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// newHistory is a history in memory, of the users.
func newHistory(t testing.TB, users ...auth.Name) (*History, *auth.Users) {
	t.Helper()
	store, err := badger.OpenMemory()
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	known := auth.New(store, journal.New(store, time.Now), time.Now)
	for _, user := range users {
		public, _, err := ed25519.GenerateKey(nil)
		ok(t, err)
		key, err := ssh.NewPublicKey(public)
		ok(t, err)
		ok(t, known.Ensure(t.Context(), user, string(ssh.MarshalAuthorizedKey(key))))
	}
	return New(store), known
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *History) want(t testing.TB, user auth.Name, lines ...string) {
	t.Helper()
	got, err := h.Lines(t.Context(), user)
	ok(t, err)
	if !slices.Equal(got, lines) {
		t.Errorf("%s typed %q, want %q", user, got, lines)
	}
}

func (h *History) add(t testing.TB, user auth.Name, lines ...string) {
	t.Helper()
	for _, line := range lines {
		ok(t, h.Append(t.Context(), user, line))
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	h, _ := newHistory(t, "bob", "bo")
	h.want(t, "bob")
	h.add(t, "bob", "a", "b", "b", "a", strings.Repeat("x", maxLine+1))
	h.want(t, "bob", "a", "b", "a")
	h.want(t, "bo")
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	h, _ := newHistory(t, "bob")
	var all []string
	for i := range maxLines + 3 {
		all = append(all, fmt.Sprint(i))
	}
	h.add(t, "bob", all...)
	h.want(t, "bob", all[3:]...)

	// Each of these bytes takes six in the store, whose rows are bounded too.
	long := []string{strings.Repeat("<", maxLine), strings.Repeat("&", maxLine)}
	full := newest(slices.Repeat(long, maxLines))
	_, err := h.store.Update(t.Context(), func(tx state.Tx) error { return table.Put(tx, "bob", full) })
	ok(t, err)
	h.add(t, "bob", long...)
	h.want(t, "bob", full...)
}

func TestSeveralShells(t *testing.T) {
	t.Parallel()
	h, _ := newHistory(t, "bob")
	var shells sync.WaitGroup
	for i := range 20 {
		shells.Go(func() { h.add(t, "bob", fmt.Sprint(i)) })
	}
	shells.Wait()
	lines, err := h.Lines(t.Context(), "bob")
	ok(t, err)
	if n := len(lines); n != 20 {
		t.Errorf("%d of 20 lines are kept", n)
	}
}

// TestRemovedUser types in a shell of a user who is removed meanwhile: whoever
// gets that name later must not read it.
func TestRemovedUser(t *testing.T) {
	t.Parallel()
	h, known := newHistory(t, "admin", "alice", "bob")
	h.add(t, "alice", "node show")
	h.add(t, "bob", "node show")
	_, err := h.store.Update(t.Context(), func(tx state.Tx) error {
		if err := known.Delete(tx, "admin", "bob"); err != nil {
			return err
		}
		return Forget(tx, "bob")
	})
	ok(t, err)
	h.want(t, "bob")
	h.add(t, "bob", "node acquire rpi-3")
	h.want(t, "bob")
	h.want(t, "alice", "node show")
}
