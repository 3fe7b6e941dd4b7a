package nodes

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walt/journal"
)

// What is wrong on the network is told until it is over, and in the log once an hour.
func TestTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "board")
		changes := 0
		l.OnTroubles = func() { changes++ }
		logged := func() (all []string) {
			t.Helper()
			ok(t, l.Journal.History(t.Context(), journal.At(time.Time{}), journal.At(time.Now().Add(time.Hour)), nil, journal.Each(func(e journal.Event) error {
				if e.Type == journal.Network {
					all = append(all, e.Node+": "+e.Detail)
				}
				return nil
			})))
			return all
		}
		for range 3 {
			l.Troubled(t.Context(), "b", Trouble{Text: "another server"})
			l.Troubled(t.Context(), "a", Trouble{Node: "board", Text: "it is there twice"})
			time.Sleep(time.Minute)
		}
		if got := l.Troubles(); !slices.Equal(got, []Trouble{{"board", "it is there twice"}, {"", "another server"}}) || changes != 2 {
			t.Errorf("%d changes, now %v", changes, got)
		}
		if got := logged(); !slices.Equal(got, []string{": another server", "board: it is there twice"}) {
			t.Errorf("the log tells %q", got)
		}
		l.Calmed("b")
		l.Calmed("b")
		if got := l.Troubles(); len(got) != 1 || changes != 3 {
			t.Errorf("%d changes, then %v", changes, got)
		}
		l.Troubled(t.Context(), "b", Trouble{Text: "another server"})
		if got := logged(); len(got) != 2 {
			t.Errorf("it comes and goes, and the log tells %q", got)
		}
		time.Sleep(2 * time.Hour)
		l.Troubled(t.Context(), "b", Trouble{Text: "another server"})
		if got := logged(); len(got) != 3 {
			t.Errorf("after hours the log tells %q", got)
		}
		for i := range 1000 {
			l.Troubled(t.Context(), string(macOf(time.Duration(i).String())), Trouble{Text: "one more"})
		}
		if got := l.Troubles(); len(got) != troublesAtOnce {
			t.Errorf("%d are known at once", len(got))
		}
	})
}
