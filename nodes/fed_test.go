package nodes

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/power/driver"
)

// plug is a device of drivers with one outlet.
type plug struct {
	mu      sync.Mutex
	off     bool
	cuts    int
	refuses bool
	gone    bool // nobody answers for it
}

var errAway = fault.Failedf("the plug does not answer")

func (p *plug) Status(context.Context, driver.Target) (driver.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return driver.Unknown, driver.Silent(errAway)
	case p.off:
		return driver.Off, nil
	}
	return driver.On, nil
}

func (p *plug) Switch(_ context.Context, _ driver.Target, on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return driver.Silent(errAway)
	case p.refuses:
		return driver.Refusal{Err: fault.Failedf("it is dead")}
	}
	if p.off = !on; p.off {
		p.cuts++
	}
	return nil
}

// be has it be away, or not.
func (p *plug) be(gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = gone
}

// is is how often it was off so far, and whether it is.
func (p *plug) is() (cuts int, off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts, p.off
}

func (p *plug) Close() error { return nil }

// A node that never boots loses its power six times an hour unasked, however often it may be
// tried; and whenever a user wants that.
func TestFedNodeThatNeverBoots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p := newLab(t, []auth.Name{"bob"}, "n1"), &plug{}
		ok(t, l.Ports.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
		l.configure(t, "n1", "power=rack:1", "boot.timeout=60s", "boot.retries=100")
		_, err := l.Boot(t.Context(), "n1") // once it did
		ok(t, err)
		l.Up("n1", "192.0.2.1:22")
		stop := l.run(t)
		_, err = l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		leftAlone := func(cuts int) {
			t.Helper()
			time.Sleep(15 * time.Minute)
			const why = "not up after 1m0s: left alone, since its power was cut six times within the hour"
			got, off := p.is()
			if s := l.state(t, "n1"); s.State != Unreachable || s.Why != why || got != cuts || off {
				t.Errorf("after %d cuts it is %+v", got, s.Status)
			}
		}
		leftAlone(1 + 6)
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), true, consent.Agreement{}, func(Change) {}))
		leftAlone(1 + 6 + 1)
		stop()
	})
}

// What cannot be cut since its device is away is not counted as cut, and is tried again when that
// is back.
func TestFedNodeWhoseDeviceIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p := newLab(t, []auth.Name{"bob"}, "n1"), &plug{}
		ok(t, l.Ports.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
		l.configure(t, "n1", "power=rack:1", "boot.timeout=60s", "boot.retries=100")
		_, err := l.Boot(t.Context(), "n1") // once it did
		ok(t, err)
		l.Up("n1", "192.0.2.1:22")
		stop := l.run(t)
		_, err = l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		p.be(true)
		time.Sleep(40 * time.Minute)
		cuts, _ := p.is()
		if s := l.state(t, "n1"); s.State != Booting || s.Why != "its power could not be given yet: "+errAway.Msg || cuts != 1 {
			t.Errorf("after %d cuts it is %+v", cuts, s.Status)
		}
		p.be(false)
		time.Sleep(20 * time.Minute)
		const why = "not up after 1m0s: left alone, since its power was cut six times within the hour"
		cuts, off := p.is()
		if s := l.state(t, "n1"); s.State != Unreachable || s.Why != why || off || cuts < 1+5 { // one was tried in vain
			t.Errorf("after %d cuts it is %+v", cuts, s.Status)
		}
		stop()
	})
}

// A node whose outlet is another one's does not notice that this is cut: that is told, and the
// other one does not lose its power again and again.
func TestNodeThatSomethingElseFeeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p := newLab(t, []auth.Name{"bob"}, "n1"), &plug{}
		s := &sleeper{ordered: &ordered{}, lab: l.Lab}
		l.Agents = s
		ok(t, l.Ports.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
		l.configure(t, "n1", "power=rack:1", "boot.timeout=60s")
		s.boots(t)
		defer l.run(t)()
		cut := func(want int) {
			t.Helper()
			time.Sleep(15 * time.Minute)
			const why = "not up after 1m0s: left alone, since it runs on although its power was cut: something else feeds it"
			cuts, off := p.is()
			if s := l.state(t, "n1"); s.State != Unreachable || s.Why != why || cuts != want || off {
				t.Errorf("after %d cuts it is %+v", cuts, s.Status)
			}
		}
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), true, consent.Agreement{}, func(Change) {}))
		cut(1)

		n := l.device(t, "n1")
		_, err := l.Test(t.Context(), "bob", &n, Trial{Rounds: 20, Hard: true, Limit: time.Hour}, func(int, Status) {}, func(Round) {})
		wantFault(t, err, fault.Failed, "n1 runs on although its power was cut: something else feeds it")
		cut(2)

		// One that was asked to reboot, and hangs, is cut for that.
		s.boots(t)
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), false, consent.Agreement{}, func(Change) {}))
		cut(3)
	})
}

// Who hangs up while a node is rebooted has it rebooted, once.
func TestRebootOfAFedNodeOutlivesWhoAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p := newLab(t, []auth.Name{"bob"}, "n1"), &plug{}
		ok(t, l.Ports.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
		l.configure(t, "n1", "power=rack:1")
		stop := l.run(t)
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, hangUp) // it is off then
		if err := l.Reboot(ctx, "bob", parse("n1"), true, consent.Agreement{}, func(Change) {}); err == nil {
			t.Error("it is done before its time")
		}
		time.Sleep(15 * time.Minute)
		stop()
		if cuts, off := p.is(); cuts != 1 || off {
			t.Errorf("it was cut %d times, and is off: %t", cuts, off)
		}
	})
}

// Who takes a node of which one of two supplies is dead is told so, and has it.
func TestNodeWithOneDeadSupplyIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p, dead := newLab(t, []auth.Name{"bob"}, "n1"), &plug{}, &plug{}
		ok(t, l.Ports.SetDrivers([]driver.Driver{{Name: "rack", Means: p}, {Name: "dead", Means: dead}}, nil))
		l.configure(t, "n1", "power=rack:1+dead:1")
		stop := l.run(t)
		ok(t, l.PowerOff(t.Context(), "bob", parse("n1"), true, consent.Agreement{}, func(Change) {}))
		dead.refuses = true
		got, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		if r := got.Changes[0].Reboot; r.Outcome != RebootOK || r.Partly != "it is dead" || p.off {
			t.Errorf("%+v, off: %t", r, p.off)
		}
		if s := l.state(t, "n1"); s.State != Booting {
			t.Errorf("it is %s", s.State)
		}
		stop()
	})
}
