package auth

import (
	"fmt"
	"strings"
	"testing"
)

func TestAddKeys(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.AddKeys(t.Context(), "bob", "bob", line("laptop")) // one's own
	ok(t, err)
	_, err = l.AddKeys(t.Context(), "alice", "bob", line("desk")) // an administrator's help
	ok(t, err)
	for _, test := range []struct {
		actor, name Name
		lines, says string
	}{
		{"bob", "alice", line("x"), "only administrators manage the keys of others, here of alice"},
		{"bob", "bob", line("x") + line("bob"), "you have the key " + fingerprint("bob") + " already"},
		{"alice", "bob", line("x") + line("bob"), "bob has the key " + fingerprint("bob") + " already"},
		{"bob", "bob", line("x") + line("alice"), "taken: it belongs to alice"},
		{"bob", "bob", line("x") + "cert-authority " + line("y"), "line 2"},
		{"ghost", "ghost", line("x"), "no longer a user"},
	} {
		_, err := l.AddKeys(t.Context(), test.actor, test.name, test.lines)
		refused(t, err, test.says)
	}
	bob, err := l.Get(t.Context(), "bob")
	ok(t, err)
	var got []string
	for _, k := range bob.Keys {
		got = append(got, k.Comment)
	}
	if s := strings.Join(got, " "); s != "bob@home laptop@home desk@home" {
		t.Errorf("bob's keys: %s", s)
	}
	if _, err := l.Login(t.Context(), public("x"), "walt", home); err == nil {
		t.Error("a key of a refused input was stored")
	}
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	var lines strings.Builder
	for i := range maxKeys - 1 {
		lines.WriteString(line(fmt.Sprint("k", i)))
	}
	_, err := l.AddKeys(t.Context(), "bob", "bob", lines.String())
	ok(t, err)
	_, err = l.AddKeys(t.Context(), "bob", "bob", line("one more"))
	refused(t, err, "at most 32", "remove-key")
}

func TestRemoveKey(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.RemoveKey(t.Context(), "bob", fingerprint("alice"))
	refused(t, err, "keys of others, here of alice")
	_, err = l.RemoveKey(t.Context(), "alice", fingerprint("alice"))
	refused(t, err, "last key of the administrator alice", "add-key")
	_, err = l.RemoveKey(t.Context(), "bob", fingerprint("bob"))
	refused(t, err, "last key of the user bob")

	_, err = l.AddKeys(t.Context(), "alice", "alice", line("laptop"))
	ok(t, err)
	k, err := l.RemoveKey(t.Context(), "alice", strings.TrimPrefix(fingerprint("alice"), hashPrefix))
	ok(t, err)
	if k.User != "alice" || k.Comment != "alice@home" {
		t.Errorf("removed %+v", k)
	}
	if _, err := l.Login(t.Context(), public("alice"), "walt", home); err == nil {
		t.Error("the removed key still works")
	}
	_, err = l.RemoveKey(t.Context(), "alice", fingerprint("bob")) // even the last one
	ok(t, err)
	bob, err := l.Get(t.Context(), "bob")
	ok(t, err)
	if len(bob.Keys) != 0 {
		t.Errorf("bob has %v", bob.Keys)
	}
}

func TestRemoveUnknownKey(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	typo := []byte(fingerprint("bob"))
	typo[10] ^= 1
	_, err := l.RemoveKey(t.Context(), "bob", string(typo))
	refused(t, err, "unknown key", "did you mean "+fingerprint("bob"))
	_, err = l.RemoveKey(t.Context(), "bob", "") // every fingerprint begins so
	refused(t, err, "unknown key", "did you mean "+fingerprint("bob"))
	for _, odd := range []string{"MD5:00:11", strings.Repeat("x", 70_000), "SHA256:../../user/alice"} {
		_, err := l.RemoveKey(t.Context(), "bob", odd)
		refused(t, err, "unknown key", "user show")
	}
}

// The same key for two users at the same instant: one of them gets it.
func TestKeyForTwo(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	for i := range 50 {
		key := fmt.Sprint("key", i)
		won := race(t,
			func() error { _, err := l.AddKeys(t.Context(), "alice", "alice", line(key)); return err },
			func() error { _, err := l.AddKeys(t.Context(), "bob", "bob", line(key)); return err })
		who, err := l.Login(t.Context(), public(key), "walt", home)
		ok(t, err)
		all, err := l.List(t.Context())
		ok(t, err)
		for _, a := range all {
			if has := len(a.Keys) == 2; has != (a.Name == who.User) {
				t.Errorf("%s has %d keys, %s logged in", a.Name, len(a.Keys), who.User)
			}
		}
		if won != 1 {
			t.Fatalf("%d got the key", won)
		}
		_, err = l.RemoveKey(t.Context(), "alice", fingerprint(key))
		ok(t, err)
	}
}

// Both keys of an administrator removed at the same instant: one remains.
func TestLastKeyRace(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	remove := func(key string) func() error {
		return func() error { _, err := l.RemoveKey(t.Context(), "alice", fingerprint(key)); return err }
	}
	for range 50 {
		ok(t, l.Ensure(t.Context(), "alice", line("a")+line("b")))
		if won := race(t, remove("a"), remove("b")); won != 1 {
			t.Fatalf("%d keys removed", won)
		}
	}
}
