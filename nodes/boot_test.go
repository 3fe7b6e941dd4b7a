package nodes

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
)

func TestNodeThatNeverBoots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 0, []auth.Name{"bob"}, "n1")
		l.configure(t, "n1", "boot.timeout=60s", "boot.retries=2")
		_, err := l.Boot(t.Context(), "n1") // once it did
		ok(t, err)
		l.Up("n1", "192.0.2.1:22")
		stop := l.run(t)
		_, err = l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		equal(t, "power cycles", r.Cycles(), "one:161/1")
		if s := l.state(t, "n1"); s.State != Booting {
			t.Errorf("after the start it is %s", s.State)
		}
		time.Sleep(59 * time.Second)
		equal(t, "power cycles before the time is over", r.Cycles())
		time.Sleep(4 * time.Second)
		equal(t, "power cycles after it", r.Cycles(), "one:161/1")
		time.Sleep(10 * time.Minute)
		equal(t, "power cycles later", r.Cycles(), "one:161/1")
		if s := l.state(t, "n1"); s.State != Unreachable || s.Why != "not up after 1m0s: left alone after 2 power cycles" {
			t.Errorf("in the end it is %+v", s.Status)
		}
		var told []string
		for _, e := range l.events(t, journal.Power) {
			if _, what, is := strings.Cut(e, "not up after "); is {
				told = append(told, what)
			}
		}
		equal(t, "told", told, "1m0s: power cycle 1 of 2", "1m0s: power cycle 2 of 2", "1m0s: left alone after 2 power cycles")

		// Who waits for it is told, and does not wait.
		_, err = l.Wait(t.Context(), []*Device{l.state(t, "n1").Device}, func([]Missing) {})
		wantFault(t, err, fault.Failed, "n1 cannot boot: not up after 1m0s: left alone after 2 power cycles", "node reboot n1")

		// A user's reboot begins anew.
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), false, consent.Agreement{}, func(Change) {}))
		if s := l.state(t, "n1"); s.State != Booting {
			t.Errorf("after a reboot it is %s", s.State)
		}
		time.Sleep(63 * time.Second)
		equal(t, "power cycles after a reboot", r.Cycles(), "one:161/1", "one:161/1")
		stop()
	})
}

func TestNodeThatBootsOnTheThirdTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 0, []auth.Name{"bob"}, "n1")
		_, err := l.Boot(t.Context(), "n1")
		ok(t, err)
		stop := l.run(t)
		_, err = l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		time.Sleep(2*182*time.Second + time.Second)
		equal(t, "power cycles", r.Cycles(), "one:161/1", "one:161/1", "one:161/1")
		_, err = l.Boot(t.Context(), "n1")
		ok(t, err)
		l.Up("n1", "192.0.2.1:22")
		time.Sleep(20 * time.Second) // before it is called for the first time
		if s := l.state(t, "n1"); s.State != Up {
			t.Errorf("it is %s", s.State)
		}
		equal(t, "power cycles of one that is up", r.Cycles())
		stop()
	})
}

func TestNodeWithoutPowerControl(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"}, "n1")
		stop := l.run(t)
		result, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		if how := result.Changes[0].Reboot; how.Outcome != RebootNone {
			t.Errorf("the reboot: %s", how)
		}
		time.Sleep(time.Hour)
		if s := l.state(t, "n1"); s.State != Off {
			t.Errorf("never heard of, it is %s", s.State)
		}
		_, err = l.Boot(t.Context(), "n1") // somebody switched it on
		ok(t, err)
		time.Sleep(4 * time.Minute)
		if s := l.state(t, "n1"); s.State != Unreachable {
			t.Errorf("stuck in its boot, it is %s", s.State)
		}
		stop()
	})
}

func TestVirtualNodeThatDoesNotBoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"})
		l.grid.dead = true
		stop := l.run(t)
		_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
		ok(t, err)
		l.configure(t, "v1", "boot.timeout=10s", "boot.retries=3")
		time.Sleep(4 * time.Minute)
		equal(t, "started", l.grid.take(), "v1", "v1", "v1", "v1")
		if s := l.state(t, "v1"); s.State != Unreachable {
			t.Errorf("it is %s", s.State)
		}
		stop()
	})
}

// A physical node that was up is looked for when the server starts again, and
// called now and then.
func TestNodesAreCalled(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1")
	listener, err := net.Listen("tcp", "127.0.0.2:0") // where no other test takes the port over
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	ok(t, err)
	_, err = l.Boot(t.Context(), "n1")
	ok(t, err)
	l.Up("n1", listener.Addr().String())
	took, err := l.Ping(t.Context(), l.state(t, "n1"))
	if err != nil || took <= 0 {
		t.Errorf("the ping: %v, %v", took, err)
	}

	l = l.again()
	ok(t, l.recallAddresses(t.Context()))
	if s := l.state(t, "n1"); s.State != Unreachable || s.Why == "" {
		t.Errorf("before it was called it is %+v", s.Status)
	}
	missed := l.probeAll(t.Context(), nil)
	if s := l.state(t, "n1"); s.State != Up || s.Addr != listener.Addr().String() {
		t.Errorf("after it was called it is %+v", s.Status)
	}
	listener.Close()
	missed = l.probeAll(t.Context(), missed)
	if s := l.state(t, "n1"); s.State != Up {
		t.Errorf("after it missed one call it is %s", s.State)
	}
	l.probeAll(t.Context(), missed)
	if s := l.state(t, "n1"); s.State != Unreachable || s.Why != "its SSH server does not answer" {
		t.Errorf("after it missed two calls it is %+v", s.Status)
	}
}

// A node that went on while no server was there is up on what it runs as soon as it says so,
// whether that is before the server has looked which were up, or after.
func TestUpSinceBeforeTheServer(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithDeadline(t.Context(), time.Time{})
	defer cancel()
	for _, quick := range []bool{false, true} {
		l := newLab(t, nil, "n1")
		_, err := l.Boot(t.Context(), "n1")
		ok(t, err)
		l.Up("n1", "127.0.0.1:22")
		l = l.again()
		if !quick {
			ok(t, l.recallAddresses(t.Context()))
		}
		l.Up("n1", "127.0.0.1:22")
		ok(t, l.recallAddresses(t.Context()))
		missing, err := l.Wait(over, []*Device{l.state(t, "n1").Device}, func([]Missing) {})
		if len(missing) > 0 || err != nil {
			t.Errorf("as quick as that, %v: who waits for it misses %v, %v", quick, missing, err)
		}
	}
}

func TestBootDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, []auth.Name{"bob"})
		_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
		ok(t, err)
		l.configure(t, "v1", "boot.delay=7s")
		begun := time.Now()
		_, err = l.Boot(t.Context(), "v1")
		ok(t, err)
		if took := time.Since(begun); took != 7*time.Second {
			t.Errorf("it was told what to boot after %v", took)
		}
	})
}
