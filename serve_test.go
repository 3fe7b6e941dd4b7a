package main

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/hostkeys"
	"walt/journal"
	"walt/state"
)

// TestHistoryOfRemovedUser types in a shell of a user, and in one of a user who
// is none any more: whoever gets that name later must not read it.
func TestHistoryOfRemovedUser(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	log := journal.New(store, time.Now)
	h := history{log, auth.New(store, log, time.Now)}
	keys, err := hostkeys.Load(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.users.Ensure(t.Context(), "alice", string(ssh.MarshalAuthorizedKey(keys[0].PublicKey()))); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[auth.Name]int{"alice": 1, "bob": 0} {
		if err := h.Append(t.Context(), user, "node show"); err != nil {
			t.Error(err)
		}
		if lines, err := h.Lines(t.Context(), user); err != nil || len(lines) != want {
			t.Errorf("%s typed %q, %v", user, lines, err)
		}
	}
}
