package nodes

import (
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/state"
)

// The nodes that are of use at once come first; among equals, the one that was
// used the longest ago.
func TestAcquireAnyTakesTheReadiest(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "a1", "a2", "a3", "a4", "a5")
	l.grid.dead = true
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m1", Host: Simulated})
	ok(t, err)
	l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
	l.node(t, "a6", "m1")
	l.configure(t, "a6", "switch=sw-1", "port=1")
	l.status.change("a1", func(s *Status) { s.State, s.Why = Unreachable, "it does not answer" })
	l.Boot(t.Context(), "a3")
	for _, n := range []Name{"a4", "a5"} {
		l.Up(n, "127.0.0.1:1")
	}
	_, err = l.Acquire(t.Context(), "carol", parse("a4"), consent.Agreement{})
	ok(t, err)
	_, err = l.Release(t.Context(), "carol", parse("a4"))
	ok(t, err)
	l.Up("a4", "127.0.0.1:1")

	var given, unreachable []Name
	for range 7 {
		r, err := l.AcquireAny(t.Context(), "bob", 1, "")
		ok(t, err)
		given, unreachable = append(given, r.Changes[0].Node), append(unreachable, r.Unreachable...)
	}
	equal(t, "given", given, "a5", "a4", "a3", "v1", "a6", "a2", "a1")
	equal(t, "unreachable", unreachable, "a1")
}

// A node that the view tells of, and that was not free yet when the transaction
// began, is no reason to find fewer than there are.
func TestAcquireAnyLooksFurther(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		l := newLab(t, []auth.Name{"bob", "carol"}, "a1")
		l.grid.dead = true
		_, err := l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m1", Host: Simulated})
		ok(t, err)
		_, err = l.Acquire(t.Context(), "carol", parse("v1"), consent.Agreement{})
		ok(t, err)
		_, err = l.Store.Update(t.Context(), func(tx state.Tx) error {
			if _, err := get(tx, "v1"); err != nil {
				return err
			}
			_, err := l.Release(t.Context(), "carol", parse("v1"))
			ok(t, err)
			if up {
				l.comeUp(t, "v1")
			}
			_, err = l.Acquire(t.Context(), "carol", parse("a1"), consent.Agreement{})
			ok(t, err)
			_, err = l.Release(t.Context(), "carol", parse("a1")) // used later than v1
			ok(t, err)
			found, err := l.someFree(t.Context(), tx, 1, "")
			if err == nil && (len(found) != 1 || found[0].Name != "a1") {
				t.Errorf("up %v: found %+v", up, found)
			}
			return err
		})
		ok(t, err)
	}
}
