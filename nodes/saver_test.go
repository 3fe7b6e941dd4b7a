package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/power/snmp"
)

var errSilent = fault.Failedf("the switch does not answer")

func TestPowerSaving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 2*time.Hour, []auth.Name{"bob"}, "n1", "n2", "n3")
		_, err := l.Acquire(t.Context(), "bob", parse("n2"), consent.Given{})
		ok(t, err)
		equal(t, "power cycles of who is acquired", r.cycles(), "one:161/2")
		stop := l.run(t)

		// Never used counts from the registration on; owned nodes stay on.
		time.Sleep(2*time.Hour - time.Minute)
		equal(t, "ports off too early", r.dark())
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "ports off after two hours", r.dark(), "one:161/1", "one:161/3")
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
		equal(t, "ports off an hour after the release", r.dark(), "one:161/1", "one:161/3")
		time.Sleep(2 * time.Minute)
		equal(t, "ports off two hours after the release", r.dark(), "one:161/1", "one:161/2", "one:161/3")

		// Acquire and wait give power before they return, without a cycle of what was off.
		r.cycles()
		result, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{})
		ok(t, err)
		equal(t, "ports off after an acquire", r.dark(), "one:161/2", "one:161/3")
		if how := result.Changes[0].Reboot; how.Outcome != RebootOK {
			t.Errorf("the reboot of n1: %s", how)
		}
		all, err := l.Show(t.Context(), "bob", parse("n3"))
		ok(t, err)
		woke, err := l.Wake(t.Context(), all)
		ok(t, err)
		equal(t, "woken", []Name{woke[0].Name}, "n3")
		equal(t, "ports off after a wait", r.dark(), "one:161/2")
		equal(t, "power cycles", r.cycles())
		if s := l.state(t, "n3"); s.State != Booting {
			t.Errorf("n3 is %s", s.State)
		}
		time.Sleep(2*time.Hour - time.Second)
		equal(t, "ports off before two hours without use", r.dark(), "one:161/2")
		time.Sleep(2 * time.Second)
		equal(t, "ports off after it", r.dark(), "one:161/2", "one:161/3")

		report, err := l.Power(t.Context())
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
		equal(t, "ports off", r.dark(), "one:161/1", "one:161/2")

		r.refuse("one:161", errSilent)
		result, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{})
		ok(t, err)
		if how := result.Changes[0].Reboot; how.Reason != errSilent.Msg {
			t.Errorf("the reboot: %s", how)
		}
		equal(t, "owners", l.owners(t, "n1"), "bob")
		stop()
		stop = l.run(t)
		time.Sleep(10 * time.Minute)
		report, err := l.Power(t.Context())
		ok(t, err)
		if p := report.Ports[0]; p.Power != "to be on" || p.Error != errSilent.Msg {
			t.Errorf("the port: %+v", p)
		}
		r.refuse("one:161", nil)
		time.Sleep(6 * time.Minute)
		equal(t, "ports off when the switch is back", r.dark(), "one:161/2")
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
		if dark := r.dark(); len(dark) != 4 {
			t.Fatalf("ports off: %v", dark)
		}
		_, err := l.Forget(t.Context(), "alice", parse("n1"), consent.Given{})
		ok(t, err)
		time.Sleep(time.Second)
		equal(t, "ports off after a node is forgotten", r.dark(), "one:161/2", "one:161/3", "one:161/4")

		// One that boots has moved. What a user told is kept all the same.
		_, err = l.Boot(t.Context(), "n2")
		ok(t, err)
		time.Sleep(time.Second)
		equal(t, "ports off after a node moved", r.dark(), "one:161/3", "one:161/4")
		if d := l.device(t, "n2"); d.Port.Number != 2 {
			t.Errorf("n2 hangs on %+v", d.Port)
		}
		l.configure(t, "n3", "switch=none")
		time.Sleep(time.Second)
		equal(t, "ports off after a link is taken back", r.dark(), "one:161/4")

		// A switch that is forgotten while it is away is still told.
		r.refuse("one:161", errSilent)
		stop()
		_, err = l.Forget(t.Context(), "alice", parse("sw-1"), consent.Given{})
		ok(t, err)
		r.refuse("one:161", nil)
		stop = l.run(t)
		time.Sleep(time.Minute)
		equal(t, "ports off after the switch is forgotten", r.dark())
		if d := l.device(t, "n4"); d.Port != (Port{}) {
			t.Errorf("n4 hangs on %+v", d.Port)
		}
	})
}

// Whatever an acquire comes between, the node that it is about has power when it
// returns, and keeps it.
func TestAcquireAgainstSaving(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"before the order", "after the order", "while it is cut", "before that is noted", "after that"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			l, r := wired(t, time.Nanosecond, []auth.Name{"bob"}, "n1")
			s := &rough{Store: l.Store}
			r.hurried = true
			l.Lab.Store = s
			port := l.device(t, "n1").Port
			acquire := func() {
				_, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{})
				ok(t, err)
				if dark := r.dark(); len(dark) > 0 {
					t.Errorf("acquired, and off: %v", dark)
				}
			}
			var meanwhile sync.WaitGroup // where the acquire has to wait for what it came between
			if moment == "before the order" {
				s.between = acquire
			}
			_, err := l.save1(t.Context())
			ok(t, err)
			if moment == "after the order" {
				acquire()
			}
			if moment == "while it is cut" {
				r.onChange = func(string, bool) {
					r.onChange = nil
					meanwhile.Go(acquire)
				}
			}
			if moment == "before that is noted" {
				s.between = func() { meanwhile.Go(acquire) }
			}
			ok(t, l.apply(t.Context(), port))
			if moment == "after that" {
				acquire()
			}
			meanwhile.Wait()
			equal(t, "owners", l.owners(t, "n1"), "bob")
			_, err = l.save1(t.Context())
			ok(t, err)
			ok(t, l.apply(t.Context(), port))
			equal(t, "ports off", r.dark())
		})
	}
}

// Users acquire, use and release nodes while the server saves power with all its
// might: no node is ever owned and off once it was acquired.
func TestSavingStorm(t *testing.T) {
	t.Parallel()
	users := []auth.Name{"u1", "u2", "u3"}
	names := []Name{"n1", "n2", "n3", "n4"}
	l, r := wired(t, time.Nanosecond, users, names...)
	r.hurried = true
	stop := l.live(t)
	ctx, cancel := context.WithCancel(t.Context())
	var saving, using sync.WaitGroup
	saving.Go(func() {
		for ctx.Err() == nil {
			l.kickSaver()
			time.Sleep(time.Millisecond)
		}
	})
	cuts := 0
	r.onChange = func(_ string, on bool) {
		if !on {
			cuts++
		}
	}
	for _, u := range users {
		using.Go(func() {
			for range 6 {
				result, err := l.AcquireAny(ctx, u, 1, "")
				if err != nil {
					continue
				}
				n := result.Changes[0].Node
				key := l.device(t, n).Port.key()
				for range 5 {
					if slices.Contains(r.dark(), key) {
						t.Errorf("%s owns %s, which is off", u, n)
					}
					time.Sleep(time.Millisecond)
				}
				_, err = l.Release(ctx, auth.Actor(u), Only(n))
				ok(t, err)
			}
		})
	}
	using.Wait()
	cancel()
	saving.Wait()
	stop()
	if cuts == 0 {
		t.Error("nothing was ever switched off")
	}
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
			l.configure(t, n, "switch="+string(sw), "port="+numberOf(i%ports+1))
		}
		_, err := l.Acquire(t.Context(), "bob", parse("all-nodes"), consent.Given{})
		ok(t, err)
		stop := l.run(t)
		defer func() { stop() }()
		time.Sleep(2 * time.Hour)
		equal(t, "ports off while bob has the nodes", r.dark())
		_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
		ok(t, err)
		time.Sleep(time.Hour + time.Minute)
		if dark := r.dark(); len(dark) != len(names) {
			t.Errorf("%d ports off", len(dark))
		}
		_, err = l.Acquire(t.Context(), "bob", parse("all-nodes"), consent.Given{})
		ok(t, err)
		equal(t, "ports off", r.dark())
		if r.most > portsAtOnce {
			t.Errorf("%d requests at once", r.most)
		}
		r.refuse("one:161", errSilent)
		_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
		ok(t, err)
	})
}

func TestRescan(t *testing.T) {
	t.Parallel()
	l, r := wired(t, 0, nil, "n1", "n2", "n3", "n4")
	r.hurried = true
	l.addSwitch(t, "sw-2", "two", "lldp.explore=true", "poe.reboots=true")
	l.configure(t, "sw-1", "lldp.explore=true")
	for _, n := range []Name{"n1", "n2", "n3"} {
		l.configure(t, n, "switch=none")
	}
	see := func(address string, port int, source snmp.Source, behind int, names ...Name) {
		for _, n := range names {
			r.seen[address] = append(r.seen[address], snmp.Neighbour{Port: port, MAC: string(macOf(string(n))), Source: source, Behind: behind})
		}
	}
	see("one:161", 9, snmp.LLDP, 7, "sw-2") // the cable between the switches
	see("one:161", 9, snmp.Bridge, 7, "n1", "n2", "n4")
	see("one:161", 3, snmp.Bridge, 2, "n3")
	see("two:161", 1, snmp.Bridge, 1, "n1")
	see("two:161", 2, snmp.LLDP, 3, "n2")
	see("two:161", 4, snmp.Bridge, 1, "n4", "stranger")
	told, links, err := l.Rescan(t.Context(), "alice", parse("explorable-switches"))
	ok(t, err)
	var got []string
	for _, link := range links {
		got = append(got, fmt.Sprintf("%s %s %d", link.Device, link.Switch, link.To.Number))
	}
	equal(t, "links", got, "n1 sw-2 1", "n2 sw-2 2", "n3 sw-1 3", "sw-2 sw-1 9")
	if d := l.device(t, "n4"); d.Port.Number != 4 || d.Port.Switch != macOf("sw-1") {
		t.Errorf("what was set by hand changed: %+v", d.Port)
	}
	if len(told) != 2 || told[1].Strange != 1 || told[1].Seen != 4 {
		t.Errorf("told: %+v", told)
	}

	// Who is seen where another one was takes its place. What shares a port is not
	// powered by it, as far as can be told.
	r.seen["one:161"], r.seen["two:161"] = nil, nil
	see("two:161", 1, snmp.Bridge, 1, "n2")
	see("two:161", 5, snmp.Bridge, 2, "n1", "n3")
	_, links, err = l.Rescan(t.Context(), "alice", parse("all-switches"))
	ok(t, err)
	got = nil
	for _, link := range links {
		got = append(got, fmt.Sprintf("%s %s %d", link.Device, link.Switch, link.To.Number))
	}
	equal(t, "links", got, "n1 sw-2 5", "n2 sw-2 1", "n3 sw-2 5")
	r.seen["two:161"] = nil
	see("two:161", 1, snmp.Bridge, 1, "n1")
	_, links, err = l.Rescan(t.Context(), "alice", parse("all-switches"))
	ok(t, err)
	if len(links) != 2 || links[1].Device != "n2" || l.device(t, "n2").Port != (Port{}) {
		t.Errorf("whose place was taken: %+v", links)
	}
	r.seen["two:161"] = nil
	see("two:161", 1, snmp.Bridge, 1, "n2")
	see("two:161", 5, snmp.Bridge, 2, "n1", "n3")
	_, _, err = l.Rescan(t.Context(), "alice", parse("all-switches"))
	ok(t, err)
	var how []string
	ok(t, l.Reboot(t.Context(), "alice", parse("n1,n2"), true, consent.Given{}, func(ch Change) { how = append(how, string(ch.Node)+" "+ch.Reboot.String()) }))
	slices.Sort(how)
	equal(t, "reboots", how, "n1 none", "n2 ok")

	// One that is silent is said to be, and changes nothing.
	see("one:161", 7, snmp.Bridge, 1, "n3")
	r.refuse("two:161", errSilent)
	told, links, err = l.Rescan(t.Context(), "alice", parse("explorable-switches"))
	ok(t, err)
	if len(links) != 0 || told[1].Err == nil || l.device(t, "n1").Port.Switch != macOf("sw-2") {
		t.Errorf("links %v, told %+v", links, told)
	}
	if s := l.state(t, "sw-2"); s.State == Up {
		t.Errorf("sw-2 is %s", s.State)
	}
}

// Who waits for a silent switch learns it from the first one that asked in vain.
func TestSilenceIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var names []Name
		for i := range 40 {
			names = append(names, Name(fmt.Sprintf("n%d", i+1)))
		}
		l, r := wired(t, 0, []auth.Name{"bob"}, names...)
		r.refuse("one:161", errSilent)
		r.patience = 7 * time.Second
		begun := time.Now()
		result, err := l.Acquire(t.Context(), "bob", parse("all-nodes"), consent.Given{})
		ok(t, err)
		for _, ch := range result.Changes {
			if ch.Reboot.Reason != errSilent.Msg {
				t.Errorf("%s: %s", ch.Node, ch.Reboot)
			}
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("that took %v", took)
		}
		if s := l.state(t, "sw-1"); s.State != Unreachable {
			t.Errorf("sw-1 is %s", s.State)
		}
	})
}

// A server that ends between the commit and the power cycle does it when it
// starts again.
func TestPowerCycleSurvivesACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 0, []auth.Name{"bob"}, "n1")
		store := l.Store
		l.Lab.Store = &rough{Store: store, after: true}
		if _, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{}); !errors.Is(err, errCrash) {
			t.Fatalf("got %v, want a crash", err)
		}
		equal(t, "power cycles before the crash", r.cycles())
		l.Lab.Store = store
		l = l.again()
		l.lines.dial = r.dial
		l.run(t)
		time.Sleep(3 * time.Second)
		equal(t, "power cycles after the start", r.cycles(), "one:161/1")
		equal(t, "owners", l.owners(t, "n1"), "bob")
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
		equal(t, "ports off during a visit", r.dark(), "one:161/2")
		leave()
		l.left(ctx, n)
		time.Sleep(59 * time.Minute)
		equal(t, "ports off just after it", r.dark(), "one:161/2")
		time.Sleep(61 * time.Minute)
		equal(t, "ports off an hour after it", r.dark(), "one:161/1", "one:161/2")
	})
}
