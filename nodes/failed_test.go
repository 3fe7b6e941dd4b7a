package nodes

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

var errDamaged = fault.Failedf("its content is damaged").WithHint("clone the image again")

// The reason why a node cannot boot stays with it, ends the wait for it, and is
// in the log; the next start has it forgotten.
func TestNodeThatCannotBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.comeUp(t, "v2")
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		_, done := l.await(t.Context(), t)
		l.Failed("v1", errDamaged)
		wantFault(t, <-done, fault.Failed, "v1 cannot boot: its content is damaged; clone the image again", "node reboot v1")
		_, done = l.await(t.Context(), t) // somebody who comes later
		wantFault(t, <-done, fault.Failed, "v1")
		if s := l.state(t, "v1"); s.State != Unreachable || !s.Failed || s.Addr != "" || !strings.HasPrefix(s.Why, "its content is damaged") {
			t.Errorf("it is %+v", s.Status)
		}
		equal(t, "log", l.events(t, journal.Power), "server v1:  -> , cannot boot bob/m1-default: its content is damaged; clone the image again")

		// It is about to start on another image: that is waited for.
		fresh := images.Image{Ref: ref("bob/m1-default"), Digest: sum("new"), Models: []images.Model{"m1"}}
		l.image(t, fresh)
		_, done = l.await(t.Context(), t)
		l.comeUp(t, "v1")
		l.comeUp(t, "v2")
		ok(t, <-done)
		if s := l.state(t, "v1"); s.State != Up || s.Why != "" {
			t.Errorf("once up it is %+v", s.Status)
		}

		// What is no fault is nothing that users can understand.
		l.Failed("v1", errors.New("secret"))
		if s := l.state(t, "v1"); s.Why != "internal error" {
			t.Errorf("it is %+v", s.Status)
		}
		l.Failed("v2", errors.New("secret"))
		if all, err := inFull(l.All(t.Context())); err != nil || len(reasonsOf(all, Unreachable)) != 1 || len(reasonsOf(all, Unreachable)[0].Nodes) != 2 {
			t.Errorf("the same reason is told of each: %v, %v", reasonsOf(all, Unreachable), err)
		}
	})
}

// A node that could not boot is tried again as one that says nothing, and keeps
// the reason when it is left alone.
func TestNodeThatCannotBootIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"})
		l.grid.broken = errDamaged
		stop := l.run(t)
		_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
		ok(t, err)
		l.configure(t, "v1", "boot.timeout=10s", "boot.retries=3")
		time.Sleep(4 * time.Minute)
		equal(t, "started", l.grid.take(), "v1", "v1", "v1", "v1")
		want := "its content is damaged; clone the image again; not up after 10s: left alone after 3 power cycles"
		if s := l.state(t, "v1"); s.State != Unreachable || !s.Failed || s.Why != want {
			t.Errorf("it is %+v", s.Status)
		}

		// A clone brings what was missing: whoever failed on that starts at once.
		l.grid.broken = nil
		_, restarts, err := l.clone(t.Context(), images.DefaultRef("m1"), ref("bob/m1-default"), true, consent.Agreement{})
		ok(t, err)
		if len(restarts) != 1 || restarts[0].Node != "v1" || l.state(t, "v1").State != Up {
			t.Errorf("after the clone: %v, %+v", restarts, l.state(t, "v1").Status)
		}
		_, restarts, err = l.clone(t.Context(), images.DefaultRef("m1"), ref("bob/m1-default"), true, consent.Agreement{})
		if err != nil || len(restarts) > 0 {
			t.Errorf("one that is up is restarted on what it runs: %v, %v", restarts, err)
		}

		// One whose run ends by itself is started again too.
		l.Failed("v1", errDamaged)
		time.Sleep(time.Minute)
		if s := l.state(t, "v1"); s.State != Up {
			t.Errorf("it is %+v", s.Status)
		}
		stop()
	})
}

// A host that refuses to start a node is no success of anything.
func TestHostThatRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"})
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	l.grid.refuses = fault.Failedf("there is no memory for it")
	check := func(what string, ch Change, err error) {
		t.Helper()
		ok(t, err)
		if ch.Reboot != (Reboot{Outcome: RebootFailed, Reason: "there is no memory for it"}) {
			t.Errorf("%s: %+v", what, ch)
		}
		if s := l.state(t, "v1"); s.State != Unreachable || !s.Failed || s.Why != "there is no memory for it" {
			t.Errorf("%s: it is %+v", what, s.Status)
		}
	}
	result, err := l.Acquire(t.Context(), "carol", parse("v1"), Remarks{}, consent.Agreement{Whoever: true})
	check("acquire", result.Changes[0], err)
	result, err = l.SetImage(t.Context(), "bob", parse("v1"), "m1-default", Remarks{}, consent.Agreement{Whoever: true})
	check("boot", result.Changes[0], err)
	ok(t, l.PowerOff(t.Context(), "bob", parse("v1"), true, consent.Agreement{}, func(Change) {}))
	ok(t, l.PowerOn(t.Context(), "bob", parse("v1"), consent.Agreement{}, func(ch Change) { check("on", ch, nil) }))
	ok(t, l.PowerOn(t.Context(), "bob", parse("v1"), consent.Agreement{}, func(ch Change) { check("on again", ch, nil) }))
	for _, hard := range []bool{false, true} {
		err = l.Reboot(t.Context(), "bob", parse("v1"), hard, consent.Agreement{}, func(ch Change) { check("reboot", ch, nil) })
		ok(t, err)
	}
	result, err = l.Create(t.Context(), "bob", Virtual{Name: "v2", Model: "m1"}, nil)
	ok(t, err)
	if r := result.Changes[0].Reboot; r.Outcome != RebootFailed {
		t.Errorf("create: %+v", r)
	}
	if l.device(t, "v1").Owner() != "bob" {
		t.Error("the change is lost")
	}
	clear(l.Hosts)
	err = l.Reboot(t.Context(), "bob", parse("v1"), true, consent.Agreement{}, func(ch Change) {
		if ch.Reboot.Outcome != RebootFailed || !strings.Contains(ch.Reboot.Reason, "simulated") {
			t.Errorf("without a host: %+v", ch.Reboot)
		}
	})
	ok(t, err)
	l.Failed("gone", errDamaged)
	if s := l.status.of("gone"); s.State != Off {
		t.Errorf("a node that was removed is %+v", s)
	}
}

// What answers on a physical node whose boot has failed is the init: that it does is no
// reason to take the node for up.
func TestFailedIsNotCalledUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1")
		l.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, _ := net.Pipe()
			return here, nil
		}
		_, err := l.Boot(t.Context(), "n1")
		ok(t, err)
		l.Stopped("n1", "10.0.0.2:22", errDamaged)
		l.probeAll(t.Context(), map[Name]bool{})
		if s := l.state(t, "n1"); s.State != Unreachable || !s.Failed {
			t.Errorf("it is %+v", s.Status)
		}
		_, err = l.Boot(t.Context(), "n1")
		ok(t, err)
		if s := l.state(t, "n1"); s.State != Booting || s.Failed {
			t.Errorf("it boots anew, and is %+v", s.Status)
		}
	})
}

// A free node that cannot boot is given only to who gets no other.
func TestAnyAvoidsFailed(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1", "n2")
	l.Failed("n1", errDamaged)
	for _, want := range []Name{"n2", "n1"} {
		result, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m1"}, Remarks{})
		ok(t, err)
		if got := result.Changes[0].Node; got != want || (want == "n1") != (len(result.Unreachable) == 1) {
			t.Errorf("got %+v, want %s", result, want)
		}
	}
}
