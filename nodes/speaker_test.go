package nodes

import (
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
)

// What a node says is of whom it belongs to, and what the image of the owner before says until
// it ends, of that owner.
func TestSpeaker(t *testing.T) {
	t.Parallel()
	l := newPair(t) // v1 is bob's
	owner := func(n Name) auth.Name {
		t.Helper()
		mac, owner, known := l.Speaker(t.Context(), n)
		if known && mac != l.device(t, n).MAC {
			t.Errorf("%s speaks as %s", n, mac)
		}
		if !known {
			return "nobody who is known"
		}
		return owner
	}
	is := func(n Name, want auth.Name) {
		t.Helper()
		if got := owner(n); got != want {
			t.Errorf("what %s says is of %q, want %q", n, got, want)
		}
	}
	l.comeUp(t, "v1")
	is("v1", "bob")
	ok(t, errorOf(l.Release(t.Context(), "bob", Only("v1"))))
	is("v1", "bob") // whose image still runs
	ok(t, errorOf(l.Boot(t.Context(), "v1")))
	is("v1", auth.Nobody)
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("v1"), Remarks{}, consent.Agreement{Whoever: true})))
	is("v1", "carol") // what runs is anybody's
	ok(t, errorOf(l.Rename(t.Context(), "carol", "v1", "v9", consent.Agreement{})))
	is("v1", "nobody who is known")
	is("v9", "carol")
}

// What a node said is for whom it belonged to then, for whom that user shares it with now, for
// administrators; that of a free node for everybody. Nobody inherits it with a name.
func TestHears(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	l := newTeam(t) // n1 is bob's
	d := l.device(t, "n1")
	for _, c := range []struct {
		user  auth.User
		owner auth.Name
		at    time.Time
		want  bool
	}{
		{auth.User{Name: "bob", Created: began}, "bob", began.Add(time.Hour), true},
		{auth.User{Name: "bob", Created: began}, "bob", began.Add(-time.Hour), false}, // of another bob
		{auth.User{Name: "carol", Created: began}, "bob", began.Add(time.Hour), false},
		{auth.User{Name: "bob", Created: began}, "carol", began.Add(time.Hour), false}, // though it is bob's now
		{auth.User{Name: "carol", Created: began}, auth.Nobody, began.Add(-time.Hour), true},
		{auth.User{Name: "root", Admin: true, Created: began}, "bob", began.Add(-time.Hour), true},
	} {
		if got := d.Hears(c.user, c.owner, c.at); got != c.want {
			t.Errorf("%s hears what was said at %s for %s: %t", c.user.Name, c.at, c.owner, got)
		}
	}
}
