package nodes

import (
	"context"
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
	off     bool
	cuts    int
	refuses bool
}

func (p *plug) Status(context.Context, driver.Target) (driver.State, error) {
	if p.off {
		return driver.Off, nil
	}
	return driver.On, nil
}

func (p *plug) Switch(_ context.Context, _ driver.Target, on bool) error {
	if p.refuses {
		return driver.Refusal{Err: fault.Failedf("it is dead")}
	}
	if p.off = !on; p.off {
		p.cuts++
	}
	return nil
}

func (p *plug) Close() error { return nil }

// A node that drivers feed and that never boots loses its power six times an hour unasked,
// however often it may be tried; and whenever a user wants that.
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
			if s := l.state(t, "n1"); s.State != Unreachable || s.Why != why || p.cuts != cuts || p.off {
				t.Errorf("after %d cuts it is %+v", p.cuts, s.Status)
			}
		}
		leftAlone(1 + 6)
		ok(t, l.Reboot(t.Context(), "bob", parse("n1"), true, consent.Agreement{}, func(Change) {}))
		leftAlone(1 + 6 + 1)
		stop()
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
		if p.cuts != 1 || p.off {
			t.Errorf("it was cut %d times, and is off: %t", p.cuts, p.off)
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
