package power_test

import (
	"testing"
	"testing/synctest"
	"time"
)

const runsOn = "it runs on without that: something else feeds it"

// A node that runs on while its outlets are off hangs on others: what these feed has its power
// back, and does not lose it again before it is told anew what feeds the node.
func TestSavingLeavesWhatFeedsSomethingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		cuts, was := 0, 0 // how often one was dark, and how many were at the last request
		p.before = func(int) {
			dark := p.dark()
			if dark > 0 && was == 0 {
				cuts++
			}
			was = dark
		}
		r.runs.Store(true)
		r.SetIdle(10 * time.Minute)
		defer r.run(t)()
		time.Sleep(12 * time.Hour)
		report, err := r.Report(t.Context())
		ok(t, err)
		if s := report.Ports[0]; cuts != 1 || p.dark() > 0 || s.Power != "on" || s.Error != runsOn {
			t.Errorf("cut %d times, left %v, told %+v", cuts, p.off, s)
		}
		r.runs.Store(false)
		ok(t, r.feed(t, "n1", "rack:n1a+rack:n1b"))
		time.Sleep(12 * time.Hour)
		if off := r.off(t, "n1"); off.Since.IsZero() || p.dark() != 2 {
			t.Errorf("told anew, it is %+v, %v", off, p.off)
		}
	})
}

// Of one that a user wants off it is told, and nothing is done.
func TestNodeThatRunsOnWhenItIsSwitchedOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		r.runs.Store(true)
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		defer r.run(t)()
		is := func(want string) {
			t.Helper()
			report, err := r.Report(t.Context())
			ok(t, err)
			if s := report.Ports[0]; p.dark() != 2 || s.Power != "off" || s.Error != want {
				t.Errorf("left %v, told %+v, want %q", p.off, s, want)
			}
		}
		time.Sleep(time.Hour)
		is(runsOn)
		r.runs.Store(false)
		time.Sleep(time.Hour)
		is("")
	})
}
