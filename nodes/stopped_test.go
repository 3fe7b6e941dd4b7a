package nodes

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/journal"
)

// A boot that stopped on purpose is not cut, is no success for who waits, and goes on
// like any other.
func TestBootThatStopsOnPurpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.run(t)
		l.comeUp(t, "v2")
		l.grid.take()
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		_, done := l.await(t.Context(), t)
		l.Stopped("v1", "10.0.0.2:22", nil)
		wantFault(t, <-done, fault.Failed, "v1 stopped before the root is mounted", "node shell v1", "node run v1 continue")
		if s := l.state(t, "v1"); !s.Stopped() || s.State != Booting || s.IP() != "10.0.0.2" || s.Step != StepRescue || s.Why == "" {
			t.Errorf("it is %+v", s.Status)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "cut", l.grid.take())

		l.Reached(t.Context(), "v1", "root")
		if s := l.state(t, "v1"); s.Stopped() || s.State != Booting || s.Why != "" || s.Step != "root" {
			t.Errorf("it goes on, and is %+v", s.Status)
		}
		l.isCutInTime(t, "v1")
		l.comeUp(t, "v1")
		l.Stopped("v1", "10.0.0.2:22", nil) // late
		if s := l.state(t, "v1"); s.Stopped() || s.State != Up {
			t.Errorf("up, it is %+v", s.Status)
		}
	})
}

// Where a boot has failed, the init answers until the machine ends.
func TestFailedBootAnswers(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	_, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	l.Failed("v1", errDamaged)
	if s := l.state(t, "v1"); s.Stopped() {
		t.Errorf("nothing answers, and it is %+v", s.Status)
	}
	l.Stopped("v1", "10.0.0.2:22", errDamaged)
	if s := l.state(t, "v1"); !s.Stopped() || s.State != Unreachable || !s.Failed || s.Addr != "10.0.0.2:22" {
		t.Errorf("it is %+v", s.Status)
	}
	_, err = l.Boot(t.Context(), "v1")
	ok(t, err)
	if s := l.state(t, "v1"); s.Stopped() {
		t.Errorf("it boots anew, and is %+v", s.Status)
	}
}

// How the process of a machine ended is the reason that it shows while it is up, and in
// the log once.
func TestEnded(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	_, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	l.Up("v1", "127.0.0.1:1")
	for _, again := range []bool{false, true, true} {
		l.Ended("v1", "work ended with status 5", again)
	}
	if s := l.state(t, "v1"); s.State != Up || s.Status.Why != "work ended with status 5" {
		t.Errorf("it is %+v", s.Status)
	}
	count := 0
	for _, e := range l.events(t, journal.Power) {
		if strings.Contains(e, "work ended with status 5") {
			count++
		}
	}
	equal(t, "told", []int{count}, 1)
	_, err = l.Boot(t.Context(), "v1")
	ok(t, err)
	l.Ended("v1", "it ended late", true)
	if s := l.state(t, "v1"); s.Status.Why != "" {
		t.Errorf("it boots anew, and is %+v", s.Status)
	}
}

// What a machine has written is known until it ends.
func TestWritten(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.Wrote("v1", 7, 100) // nobody knows it
	_, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	l.Up("v1", "127.0.0.1:1")
	l.Wrote("v1", 7, 100)
	if s := l.state(t, "v1"); s.Written != 7 || s.Room != 100 || s.State != Up {
		t.Errorf("it is %+v", s.Status)
	}
	_, err = l.Boot(t.Context(), "v1")
	ok(t, err)
	if s := l.state(t, "v1"); s.Written != 0 || s.Room != 0 {
		t.Errorf("it boots anew, and is %+v", s.Status)
	}
}
