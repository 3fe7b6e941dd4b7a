package nodes

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/remote"
)

// A command on several nodes is one event and one notice for each owner; nodes that
// changed hands since they were looked at, are gone or are not up get none.
func TestVisitsOfSeveral(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3", "n4", "n5", "n6")
	l.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("silent") }
	take := func(owner auth.Name, set string) {
		t.Helper()
		_, err := l.Acquire(t.Context(), owner, parse(set), Remarks{}, consent.Agreement{})
		ok(t, err)
	}
	take("bob", "n1,n2,n3,n4,n6")
	for _, n := range []Name{"n1", "n2", "n3", "n4", "n5"} {
		l.comeUp(t, n)
	}
	all, err := inFull(l.Show(t.Context(), "carol", parse("n*")))
	ok(t, err)
	_, err = l.Release(t.Context(), "bob", parse("n3"))
	ok(t, err)
	take("alice", "n3")
	_, err = l.Forget(t.Context(), "bob", parse("n4"), consent.Agreement{})
	ok(t, err)
	_, err = l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)

	visits := l.Visits(t.Context(), "carol", all, "printf %s 100%")
	if !l.visitors.Any("n2") || l.visitors.Any("n6") {
		t.Error("the visitors are not noted")
	}
	for i, v := range visits {
		_, err := v.Run(remote.Session{})
		want := []string{"the connection to n1 failed: silent", "the connection to n2 failed: silent", "n3 changed hands", "unknown device n4", "the connection to n5 failed: silent", "n6 is not up (off)"}[i]
		if f := fault.As(err); f == nil || f.Msg != want {
			t.Errorf("n%d: %v, want %s", i+1, err, want)
		}
	}
	if l.visitors.Any("n2") {
		t.Error("a visitor did not leave")
	}
	var logged [][]string
	ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
		if e.Type == journal.Visit {
			logged = append(logged, append(e.About(), e.Detail))
		}
		return nil
	})))
	if len(logged) != 1 || !slices.Equal(logged[0], []string{"n1", "n2", "ran a command: printf %s 100%"}) {
		t.Errorf("the log tells %q", logged)
	}
	told, err := l.Journal.Unseen(t.Context(), "bob")
	ok(t, err)
	equal(t, "bob is told", told, "carol ran a command, printf %s 100%, on 2 of your nodes: n1, n2")
}
