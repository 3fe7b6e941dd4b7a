package nodes

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/consent"
	"walt/journal"
)

// A node that comes up and goes down hundreds of times a second does not fill the
// log, which tells all the same what the node is in the end, and tells of others.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		var told int
		stop := l.run(t)
		flap := func(times int) {
			for range times {
				l.Up("v1", "127.0.0.1:1")
				time.Sleep(time.Millisecond)
				l.Down("v1", false, "")
				time.Sleep(time.Millisecond)
			}
		}
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		flap(1000)
		l.comeUp(t, "v2")
		synctest.Wait()
		if all := l.states(t, &told); len(all) != flapEdges+1 || !strings.Contains(all[flapEdges], "server v2: booting -> up") {
			t.Errorf("the log tells %d times, at last %q", len(all), all[len(all)-1])
		}
		l.Up("v1", "127.0.0.1:1")
		time.Sleep(flapTime)
		synctest.Wait()
		equal(t, "a minute later", l.states(t, &told), "server v1: off -> up, answers again; it came up or went down 1941 more times within 1m0s")

		l.Down("v1", false, "")
		synctest.Wait()
		equal(t, "alone", l.states(t, &told), "server v1: up -> off, switched off from inside")
		flap(100)
		l.Up("v1", "127.0.0.1:1")
		synctest.Wait()
		l.states(t, &told)
		stop()
		all := l.states(t, &told)
		equal(t, "the server stops", all, "server v1: off -> up, answers again; it came up or went down 142 more times within 1m0s",
			"server v1: up -> off, its host stopped", "server v2: up -> off, its host stopped")
	})
}

// Nor does one that fails to start again and again; of another the log tells.
func TestFailingAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		told := func() (failed []string) {
			for _, e := range l.events(t, journal.Power) {
				if strings.Contains(e, "cannot boot") {
					failed = append(failed, e)
				}
			}
			return failed
		}
		for range 1000 {
			l.Failed("v1", errDamaged)
		}
		l.Failed("v2", errDamaged)
		if all := told(); len(all) != flapEdges+1 || !strings.Contains(all[flapEdges], " v2: ") {
			t.Errorf("the log tells %d times, at last %q", len(all), all[len(all)-1])
		}
		time.Sleep(flapTime)
		l.Failed("v1", errDamaged)
		l.Failed("v1", errDamaged)
		all := told()
		if len(all) != flapEdges+3 || !strings.HasSuffix(all[flapEdges+1], "; before that it failed 940 more times") || strings.Contains(all[flapEdges+2], "more times") {
			t.Errorf("a minute later it tells %q", all[flapEdges+1:])
		}
	})
}

// A node that comes up after it was removed, or under the name that it had, does
// not make the next one of that name be up.
func TestUpTooLate(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1", "n2")
	_, err := l.Forget(t.Context(), "alice", parse("n1"), consent.Agreement{})
	ok(t, err)
	_, err = l.Rename(t.Context(), "alice", "n2", "n3", consent.Agreement{})
	ok(t, err)
	for _, n := range []Name{"n1", "n2"} {
		l.Up(n, "192.0.2.1:22")
		_, err := l.Register(t.Context(), "alice", Announcement{Name: n, MAC: macOf("new " + string(n)), Model: "m1"})
		ok(t, err)
		if s := l.state(t, n); s.State != Off || s.Addr != "" {
			t.Errorf("the new %s is %+v", n, s.Status)
		}
	}
	l.Up("n3", "192.0.2.1:22")
	if s := l.state(t, "n3"); s.State != Up {
		t.Errorf("the renamed one is %+v", s.Status)
	}
}
