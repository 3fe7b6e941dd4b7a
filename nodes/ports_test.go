package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
)

var errSilent = fault.Failedf("the switch does not answer")

func TestPowerSaving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 2*time.Hour, []auth.Name{"bob"}, "n1", "n2", "n3")
		_, err := l.Acquire(t.Context(), "bob", parse("n2"), Remarks{}, consent.Agreement{})
		ok(t, err)
		equal(t, "power cycles of who is acquired", r.Cycles(), "one:161/2")
		stop := l.run(t)

		// Never used counts from the registration on; owned nodes stay on.
		time.Sleep(2*time.Hour - time.Minute)
		equal(t, "ports off too early", r.Dark())
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		equal(t, "ports off after two hours", r.Dark(), "one:161/1", "one:161/3")
		if s := l.state(t, "n1"); s.State != Powersave || s.Switch != "sw-1" || s.Port.Number != 1 {
			t.Errorf("n1 is %+v", s)
		}

		// A released node gets its own two hours, also across a restart.
		_, err = l.Release(t.Context(), "bob", parse("n2"))
		ok(t, err)
		time.Sleep(time.Hour)
		stop()
		time.Sleep(59 * time.Minute)
		stop = l.run(t)
		synctest.Wait()
		equal(t, "ports off an hour after the release", r.Dark(), "one:161/1", "one:161/3")
		time.Sleep(2 * time.Minute)
		equal(t, "ports off two hours after the release", r.Dark(), "one:161/1", "one:161/2", "one:161/3")

		// Acquire and wait give power before they return, without a cycle of what was off.
		r.Cycles()
		result, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		equal(t, "ports off after an acquire", r.Dark(), "one:161/2", "one:161/3")
		if how := result.Changes[0].Reboot; how.Outcome != RebootOK {
			t.Errorf("the reboot of n1: %s", how)
		}
		woke, err := l.Wake(t.Context(), []*Device{l.state(t, "n3").Device})
		ok(t, err)
		equal(t, "woken", []Name{woke[0].Name}, "n3")
		equal(t, "ports off after a wait", r.Dark(), "one:161/2")
		equal(t, "power cycles", r.Cycles())
		if s := l.state(t, "n3"); s.State != Booting {
			t.Errorf("n3 is %s", s.State)
		}
		time.Sleep(2*time.Hour - time.Second)
		equal(t, "ports off before two hours without use", r.Dark(), "one:161/2")
		time.Sleep(2 * time.Second)
		equal(t, "ports off after it", r.Dark(), "one:161/2", "one:161/3")

		report, err := l.PowerReport(t.Context())
		ok(t, err)
		if hours := report.Saved.Hours(); hours < 6 || hours > 7 {
			t.Errorf("saved %.2f port-hours", hours)
		}
		var ports []string
		for _, p := range report.Ports {
			ports = append(ports, fmt.Sprintf("%s %d %s %s", p.Switch, p.Number, p.Node, p.Power))
		}
		equal(t, "ports", ports, "sw-1 1 n1 on", "sw-1 2 n2 off", "sw-1 3 n3 off")
		stop()
	})
}

// A switch that does not answer is no reason to fail an acquire, nor to leave
// its node without power for longer than needed.
func TestSilentSwitch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, []auth.Name{"bob"}, "n1", "n2")
		stop := l.run(t)
		defer func() { stop() }()
		time.Sleep(time.Hour + time.Second)
		equal(t, "ports off", r.Dark(), "one:161/1", "one:161/2")

		r.Refuse("one:161", errSilent)
		result, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		if how := result.Changes[0].Reboot; how.Reason != errSilent.Msg {
			t.Errorf("the reboot: %s", how)
		}
		equal(t, "owners", l.owners(t, "n1"), "bob")
		stop()
		stop = l.run(t)
		time.Sleep(10 * time.Minute)
		report, err := l.PowerReport(t.Context())
		ok(t, err)
		if p := report.Ports[0]; p.Power != "to be on" || p.Error != errSilent.Msg {
			t.Errorf("the port: %+v", p)
		}
		r.Refuse("one:161", nil)
		time.Sleep(6 * time.Minute)
		equal(t, "ports off when the switch is back", r.Dark(), "one:161/2")
		var failures int
		for _, e := range l.events(t, journal.Power) {
			if strings.Contains(e, "could not turn it on: "+errSilent.Msg) {
				failures++
			}
		}
		if failures != 1 {
			t.Errorf("%d failures in the journal: %q", failures, l.events(t, journal.Power))
		}
	})
}

func TestPortsGetTheirPowerBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, nil, "n1", "n2", "n3", "n4")
		stop := l.run(t)
		defer func() { stop() }()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if dark := r.Dark(); len(dark) != 4 {
			t.Fatalf("ports off: %v", dark)
		}
		_, err := l.Forget(t.Context(), "alice", parse("n1"), consent.Agreement{})
		ok(t, err)
		time.Sleep(time.Second)
		equal(t, "ports off after a node is forgotten", r.Dark(), "one:161/2", "one:161/3", "one:161/4")

		// One that boots has moved. What a user told is kept all the same.
		_, err = l.Boot(t.Context(), "n2")
		ok(t, err)
		time.Sleep(time.Second)
		equal(t, "ports off after a node moved", r.Dark(), "one:161/3", "one:161/4")
		if n := l.state(t, "n2"); n.Port.Number != 2 {
			t.Errorf("n2 is connected to %+v", n.Port)
		}
		l.configure(t, "n3", "switch=none")
		time.Sleep(time.Second)
		equal(t, "ports off after a link is taken back", r.Dark(), "one:161/4")

		// A switch that is forgotten while it is away is still told.
		r.Refuse("one:161", errSilent)
		stop()
		_, err = l.Forget(t.Context(), "alice", parse("sw-1"), consent.Agreement{})
		ok(t, err)
		r.Refuse("one:161", nil)
		stop = l.run(t)
		time.Sleep(time.Minute)
		equal(t, "ports off after the switch is forgotten", r.Dark())
		if n := l.state(t, "n4"); !n.Port.IsZero() {
			t.Errorf("n4 is connected to %+v", n.Port)
		}
	})
}

// Users acquire, use and release nodes while the server saves power with all its
// might: no node is ever owned and off once it was acquired.
func TestSavingStorm(t *testing.T) {
	t.Parallel()
	users := []auth.Name{"u1", "u2", "u3"}
	names := []Name{"n1", "n2", "n3", "n4"}
	l, r := wired(t, time.Nanosecond, users, names...)
	r.Hurried = true
	stop := l.live(t)
	ctx, cancel := context.WithCancel(t.Context())
	var saving, using sync.WaitGroup
	saving.Go(func() {
		for ctx.Err() == nil {
			l.Ports.SetIdle(time.Nanosecond)
			time.Sleep(time.Millisecond)
		}
	})
	for _, u := range users {
		using.Go(func() {
			for range 6 {
				result, err := l.AcquireAny(ctx, u, Some{N: 1}, Remarks{})
				if err != nil {
					continue
				}
				n := result.Changes[0].Node
				port := fmt.Sprintf("one:161/%d", l.state(t, n).Port.Number)
				for range 5 {
					if slices.Contains(r.Dark(), port) {
						t.Errorf("%s owns %s, which is off", u, n)
					}
					time.Sleep(time.Millisecond)
				}
				_, err = l.Release(ctx, u.Actor(), Only(n))
				ok(t, err)
			}
		})
	}
	using.Wait()
	for end := time.Now().Add(time.Minute); len(r.Dark()) == 0; time.Sleep(time.Millisecond) { // all are free by now
		if time.Now().After(end) {
			t.Fatal("nothing is switched off")
		}
	}
	cancel()
	saving.Wait()
	stop()
}

// Two hundred nodes on ten switches are released and lose their power in one
// sweep, and get it back, with few requests to any switch at a time.
func TestOneSwitchGently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const switches, ports = 10, 20
		var names []Name
		for i := range switches * ports {
			names = append(names, Name(fmt.Sprintf("n%d", i+1)))
		}
		l, r := wired(t, time.Hour, []auth.Name{"bob"}, names[:ports]...)
		for i, n := range names[ports:] {
			sw := Name(fmt.Sprintf("sw-%d", i/ports+2))
			if i%ports == 0 {
				l.addSwitch(t, sw, string(sw), "poe.reboots=true")
			}
			l.node(t, n, "m1")
			l.configure(t, n, "switch="+string(sw), "port="+strconv.Itoa(i%ports+1))
		}
		_, err := l.Acquire(t.Context(), "bob", parse("all-nodes"), Remarks{}, consent.Agreement{})
		ok(t, err)
		stop := l.run(t)
		defer func() { stop() }()
		time.Sleep(2 * time.Hour)
		equal(t, "ports off while bob has the nodes", r.Dark())
		_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
		ok(t, err)
		time.Sleep(time.Hour + time.Minute)
		if dark := r.Dark(); len(dark) != len(names) {
			t.Errorf("%d ports off", len(dark))
		}
		_, err = l.Acquire(t.Context(), "bob", parse("all-nodes"), Remarks{}, consent.Agreement{})
		ok(t, err)
		equal(t, "ports off", r.Dark())
		if r.Most() > 8 {
			t.Errorf("%d requests at once", r.Most())
		}
		r.Refuse("one:161", errSilent)
		_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
		ok(t, err)
	})
}

// A server that ends between the commit and the power cycle does it when it
// starts again.
func TestPowerCycleSurvivesACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 0, []auth.Name{"bob"}, "n1")
		store := l.Store
		l.Lab.Store = &rough{Store: store, after: true, died: make(chan struct{})}
		if _, err := l.Acquire(t.Context(), "bob", parse("n1"), Remarks{}, consent.Agreement{}); !errors.Is(err, errCrash) {
			t.Fatalf("got %v, want a crash", err)
		}
		equal(t, "power cycles before the crash", r.Cycles())
		l.Lab.Store = store
		l = l.again()
		l.Ports.Dial = r.Dial
		l.run(t)
		time.Sleep(3 * time.Second)
		equal(t, "power cycles after the start", r.Cycles(), "one:161/1")
		equal(t, "owners", l.owners(t, "n1"), "bob")
	})
}

// A node that is told to reboot starts anew also when something is ordered of its port that
// has not been done: a reboot that failed before, or what saves power.
func TestRebootWhileAnotherOrderFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, []auth.Name{"bob"}, "n1")
		stop := l.run(t)
		defer func() { stop() }()
		reboot := func(want string) {
			t.Helper()
			ok(t, l.Reboot(t.Context(), "bob", parse("n1"), true, consent.Agreement{}, func(ch Change) {
				if got := ch.Reboot.String(); got != want {
					t.Errorf("the reboot: %s, want %s", got, want)
				}
			}))
		}
		r.Refuse("one:161", errSilent)
		reboot(errSilent.Msg)
		r.Refuse("one:161", nil)
		reboot("ok")
		equal(t, "power cycles after one that failed", r.Cycles(), "one:161/1")

		r.Refuse("one:161", errSilent)
		time.Sleep(time.Hour + time.Second)
		report, err := l.PowerReport(t.Context())
		ok(t, err)
		if p := report.Ports[0]; p.Power != "to be off" || p.Error != errSilent.Msg {
			t.Errorf("the port: %+v", p)
		}
		r.Refuse("one:161", nil)
		reboot("ok")
		equal(t, "power cycles of who is not off yet", r.Cycles(), "one:161/1")

		// What is off starts without a cycle.
		time.Sleep(time.Hour + time.Second)
		equal(t, "ports off", r.Dark(), "one:161/1")
		reboot("ok")
		equal(t, "power cycles of what was off", r.Cycles())
	})
}

func TestVisitedNodesStayOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, nil, "n1", "n2")
		l.run(t)
		n := l.state(t, "n1")
		ctx, leave := l.visitors.Enter(t.Context(), "n1", "alice")
		time.Sleep(3*time.Hour + time.Minute)
		equal(t, "ports off during a visit", r.Dark(), "one:161/2")
		leave()
		l.left(ctx, n)
		time.Sleep(59 * time.Minute)
		equal(t, "ports off just after it", r.Dark(), "one:161/2")
		time.Sleep(61 * time.Minute)
		equal(t, "ports off an hour after it", r.Dark(), "one:161/1", "one:161/2")
	})
}
