package nodes

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
)

// newMachine is a lab in which bob owns the machine vm1, which comes up only when the test
// has it do so.
func newMachine(t testing.TB) testLab {
	t.Helper()
	l := newLab(t, []auth.Name{"bob"})
	l.Hosts[QEMU] = l.grid
	l.grid.dead = true
	_, err := l.Register(t.Context(), "bob", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	_, err = l.Acquire(t.Context(), "bob", parse("vm1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	return l
}

// A machine that reboots by itself as soon as it is up starts after pauses that grow, which
// is told; who orders a start gets it at once, and one that stays up for some time begins
// anew.
func TestRebootsAsSoonAsItIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMachine(t)
		l.run(t)
		rests := func() time.Duration {
			t.Helper()
			began := time.Now()
			_, err := l.Boot(t.Context(), "vm1")
			ok(t, err)
			return time.Since(began)
		}
		rests()
		for i, want := range []time.Duration{0, 0, 0, 10, 20, 40, 80, 160, 300, 300} {
			l.Up("vm1", "127.0.0.1:1")
			l.Down("vm1", true, "")
			if got := rests(); got != want*time.Second {
				t.Errorf("reboot %d: it starts after %v, want %v s", i+1, got, want)
			}
			told := fmt.Sprintf("rebooted from inside, %d times in a row soon after it was up: it starts after a pause of %v", i+1, want*time.Second)
			if s := l.state(t, "vm1"); strings.HasPrefix(s.Why, told) != (want > 0) || s.State != Booting {
				t.Errorf("reboot %d: it is %+v, want %q", i+1, s.Status, told)
			}
		}
		l.Up("vm1", "127.0.0.1:1")
		if !l.Crashed("vm1", "kernel panic: bug") {
			t.Error("it does not start again")
		}
		if got := rests(); got != 300*time.Second {
			t.Errorf("one that panics each time starts after %v", got)
		}

		l.Up("vm1", "127.0.0.1:1")
		l.Down("vm1", true, "")
		ok(t, l.Reboot(t.Context(), "bob", parse("vm1"), true, consent.Agreement{}, func(Change) {}))
		if got := rests(); got != 0 {
			t.Errorf("ordered by its user, it starts after %v", got)
		}
		for range hastyFree {
			l.Up("vm1", "127.0.0.1:1")
			l.Down("vm1", true, "")
			rests()
		}
		l.Up("vm1", "127.0.0.1:1")
		time.Sleep(hastyTime)
		l.Down("vm1", true, "")
		if got := rests(); got != 0 {
			t.Errorf("after it was up for long it starts after %v", got)
		}
	})
}

// What the agent of a machine says between the order to start it anew and its end is of the
// boot that ends.
func TestWordsAfterTheOrder(t *testing.T) {
	t.Parallel()
	l := newMachine(t)
	l.comeUp(t, "vm1")
	ok(t, l.Reboot(t.Context(), "bob", parse("vm1"), true, consent.Agreement{}, func(Change) {}))
	for what, says := range map[string]func(){
		"up":     func() { l.Up("vm1", "127.0.0.1:1") },
		"a step": func() { l.Reached(t.Context(), "vm1", "init") },
		"rescue": func() { l.Stopped("vm1", "127.0.0.1:1", nil) },
		"failed": func() { l.Stopped("vm1", "127.0.0.1:1", errDamaged) },
	} {
		if says(); l.state(t, "vm1").State != Booting || l.state(t, "vm1").Step != StepNone {
			t.Errorf("it says %s: %+v", what, l.state(t, "vm1").Status)
		}
	}
	l.Down("vm1", true, "the server cut its power")
	l.comeUp(t, "vm1")
	if s := l.state(t, "vm1"); s.State != Up {
		t.Errorf("up anew, it is %+v", s.Status)
	}
}

// liars say that they reboot, and do not.
type liars struct{ Agents }

func (liars) Reboot(context.Context, Name) error { return nil }
func (liars) Taken(Name) int64                   { return 0 }
func (liars) Deaf(ethernet.MAC) bool             { return false }
func (liars) Readmit(context.Context)            {}

// A machine that only says that it reboots is not up by saying so: its power is cut when
// its time is over.
func TestOnlySaysThatItReboots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMachine(t)
		l.Agents = liars{}
		l.run(t)
		l.comeUp(t, "vm1")
		l.grid.take()
		ok(t, l.Reboot(t.Context(), "bob", parse("vm1"), false, consent.Agreement{}, func(Change) {}))
		l.Up("vm1", "127.0.0.1:1")
		l.isCutInTime(t, "vm1")
	})
}
