package nodes

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/remote"
	"walt/state"
	"walt/state/badger"
)

// outcomes has PowerOff or PowerOn tell what came of each node.
func outcomes(all *[]string) func(Change) {
	return func(ch Change) { *all = append(*all, string(ch.Node)+" "+ch.Reboot.String()) }
}

// A node that is switched off stays off until somebody wants it on.
func TestSwitchedOff(t *testing.T) { synctest.Test(t, offAndOn) }

func offAndOn(t *testing.T) {
	store, err := badger.OpenMemory()
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	l := over(store, time.Now, newShelf())
	ok(t, l.users.Ensure(t.Context(), "alice", keyOf("alice")))
	l.user(t, "bob")
	l.image(t, defaultOf("m1"))
	_, err = l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	l.node(t, "n1", "m1")
	off := func(user auth.Name, set string, given consent.Agreement) (all []string, err error) {
		err = l.PowerOff(t.Context(), user, parse(set), false, given, outcomes(&all))
		slices.Sort(all)
		return all, err
	}
	on := func(user auth.Name, set string, given consent.Agreement) (all []string, err error) {
		err = l.PowerOn(t.Context(), user, parse(set), given, outcomes(&all))
		slices.Sort(all)
		return all, err
	}
	isOff := func(what string) {
		t.Helper()
		s := l.state(t, "v1")
		if s.State != Off || s.Off.By != "bob" || !strings.HasPrefix(s.Why, "bob switched it off at 20") || len(l.grid.take()) > 0 {
			t.Errorf("%s: %+v", what, s.Status)
		}
	}
	isOn := func(what string) {
		t.Helper()
		if s := l.state(t, "v1"); s.State != Up || s.Why != "" || len(l.grid.take()) != 1 {
			t.Errorf("%s: %+v", what, s.Status)
		}
	}
	isOn("at first")

	_, err = off("alice", "v1", consent.Agreement{})
	wantContest(t, err, false, "v1 bob")
	got, err := off("bob", "v1,n1", consent.Agreement{})
	ok(t, err)
	equal(t, "off", got, "n1 none", "v1 ok")
	isOff("switched off")
	equal(t, "stopped", l.grid.stopped, "v1")
	got, err = off("bob", "v1", consent.Agreement{})
	ok(t, err)
	equal(t, "off again", got, "v1 skipped")

	// Nobody who only uses it wakes it, and it is said who wants it off.
	_, err = l.Wait(t.Context(), []*Device{l.state(t, "v1").Device}, func([]Missing) {})
	wantFault(t, err, fault.Failed, "v1 is off: bob switched it off at", "node on v1")
	_, err = l.RunSession(t.Context(), "alice", l.state(t, "v1"), "", remote.Session{})
	wantFault(t, err, fault.Failed, "v1 is off: bob switched it off at", "node on v1")
	woke, err := l.Wake(t.Context(), []*Device{l.state(t, "v1").Device})
	if err != nil || len(woke) > 0 {
		t.Errorf("woken: %v, %v", woke, err)
	}
	_, restarts, err := l.clone(t.Context(), ref("waltplatform/m1-default"), ref("bob/m1-default"), true, consent.Agreement{})
	if err != nil || len(restarts) > 0 {
		t.Errorf("it is restarted with its image: %v, %v", restarts, err)
	}
	_, err = l.Rename(t.Context(), "bob", "v1", "v2", consent.Agreement{})
	ok(t, err)
	_, err = l.Rename(t.Context(), "bob", "v2", "v1", consent.Agreement{})
	ok(t, err)
	isOff("used")

	// The next server knows.
	next := over(store, time.Now, newShelf())
	stop := next.run(t)
	l = next
	isOff("a restart of the server")
	stop()

	// Whoever wants it on.
	_, err = on("alice", "v1", consent.Agreement{})
	wantContest(t, err, false, "v1 bob")
	got, err = on("bob", "v1,n1", consent.Agreement{})
	ok(t, err)
	equal(t, "on", got, "n1 none", "v1 ok")
	isOn("switched on")
	got, err = on("bob", "v1", consent.Agreement{})
	ok(t, err)
	equal(t, "on again", got, "v1 skipped")
	for what, do := range map[string]func() error{
		"its image": func() error {
			return errorOf(l.SetImage(t.Context(), "bob", parse("v1"), "m1-default", Remarks{}, consent.Agreement{}))
		},
		"a reboot": func() error {
			return l.Reboot(t.Context(), "bob", parse("v1"), false, consent.Agreement{}, func(Change) {})
		},
		"who takes it": func() error {
			return errorOf(l.Acquire(t.Context(), "alice", parse("v1"), Remarks{}, consent.Agreement{Whoever: true}))
		},
	} {
		_, err := off("bob", "v1", consent.Agreement{})
		ok(t, err)
		isOff(what)
		ok(t, do())
		isOn(what)
		_, err = l.SetImage(t.Context(), "bob", parse("v1"), "m1-default", Remarks{}, consent.Agreement{Whoever: true})
		ok(t, err)
		l.grid.take()
	}
	want := []string{"bob v1:  -> off, switched off", "bob v1:  -> on, switched on"}
	events := l.events(t, journal.Power)
	for _, e := range want {
		if !slices.Contains(events, e) {
			t.Errorf("the log has no %q: %q", e, events)
		}
	}
}

// A machine on which somebody was for long, in whatever way, stays on for as long after that
// as any other.
func TestVisitedMachinesStayOn(t *testing.T) {
	for what, come := range map[string]func(testLab, *testing.T) (leave func()){
		"a session": func(l testLab, t *testing.T) func() {
			n := l.state(t, "vm1")
			ctx, leave := l.visitors.Enter(t.Context(), "vm1", "alice")
			return func() {
				leave()
				l.left(ctx, n)
			}
		},
		"a forward or copy": func(l testLab, t *testing.T) func() {
			w, err := l.Reach(t.Context(), "alice", "vm1", consent.Agreement{}, 0)
			ok(t, err)
			return w.Leave
		},
		"a console": func(l testLab, t *testing.T) func() {
			c, err := l.Sit(t.Context(), "alice", "vm1", consent.Agreement{})
			ok(t, err)
			return c.Leave
		},
	} {
		t.Run(what, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { visitedStaysOn(t, come) }) })
	}
}

func visitedStaysOn(t *testing.T, come func(testLab, *testing.T) (leave func())) {
	l := newLab(t, nil)
	l.Hosts[QEMU] = l.grid
	l.withLines(t)
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	l.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, _ := net.Pipe()
		return here, nil
	}
	l.Ports.SetIdle(10 * time.Minute)
	l.run(t)
	is := func(after time.Duration, want State) { t.Helper(); l.becomes(t, "vm1", after, want) }
	is(time.Minute, Up)
	leave := come(l, t)
	is(35*time.Minute, Up)
	leave()
	is(9*time.Minute, Up)
	is(2*time.Minute, Powersave)
}

// That a session ends is written of a node that may lose its power for it, not of one that
// is somebody's: one that becomes free is used then.
func TestSessionsOfOwnersAreNotWritten(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.Hosts[QEMU] = l.grid
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "vm1", MAC: macOf("vm1"), Model: "m1", Host: QEMU})
	ok(t, err)
	var updates atomic.Int64
	l.Store = watched{l.Store, &updates, func(int64) {}}
	if l.left(t.Context(), l.state(t, "vm1")); updates.Load() != 1 {
		t.Errorf("of a free node: %d transactions", updates.Load())
	}
	_, err = l.Acquire(t.Context(), "bob", parse("vm1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	updates.Store(0)
	if l.left(t.Context(), l.state(t, "vm1")); updates.Load() != 0 {
		t.Errorf("of bob's node: %d transactions", updates.Load())
	}
}

// What is ordered off is not started because it does not come up.
func TestWatchdogLeavesOff(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.orderOff(t, "v1")
	l.grid.take()
	ok(t, l.stuck(t.Context(), "v1"))
	ok(t, l.stuck(t.Context(), "v2"))
	l.works.Wait()
	equal(t, "started", l.grid.take(), "v2")
	if s := l.state(t, "v1"); s.Off.By != "bob" {
		t.Errorf("it is %+v", s.Status)
	}
}

// orderOff has bob order that a node loses its power, which it does not do yet.
func (l testLab) orderOff(t testing.TB, n Name) {
	t.Helper()
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		return errorOf(l.Ports.PowerOff(tx, l.device(t, n).MAC, true, "bob"))
	})
	ok(t, err)
}

// Who wants a node to start anew that is just being switched off gets that.
func TestStartsAnewBeforeItIsOff(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	for what, do := range map[string]func() error{
		"a reboot": func() error {
			return l.Reboot(t.Context(), "bob", parse("v1"), false, consent.Agreement{}, func(Change) {})
		},
		"its next user": func() error {
			return errorOf(l.Acquire(t.Context(), "alice", parse("v1"), Remarks{}, consent.Agreement{Whoever: true}))
		},
	} {
		l.orderOff(t, "v1")
		l.grid.take()
		ok(t, do())
		equal(t, what, l.grid.take(), "v1")
		if s := l.state(t, "v1"); s.State != Up || s.Running().Digest == "" || s.Off.By != "" {
			t.Errorf("%s: %+v", what, s.Status)
		}
		_, err := l.SetImage(t.Context(), "bob", parse("v1"), "m1-default", Remarks{}, consent.Agreement{Whoever: true})
		ok(t, err)
	}
}

// A virtual node that went off by itself is not waited for: nobody starts it unasked.
func TestOffByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	l.Down("v1", false, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = l.Wait(ctx, []*Device{l.state(t, "v1").Device}, func([]Missing) {})
	wantFault(t, err, fault.Failed, "v1 is off: switched off from inside", "node on v1")
	_, err = l.RunSession(t.Context(), "bob", l.state(t, "v1"), "", remote.Session{})
	wantFault(t, err, fault.Failed, "v1 is off: switched off from inside", "node on v1")
	ok(t, l.PowerOn(t.Context(), "bob", parse("v1"), consent.Agreement{}, func(Change) {}))
	_, err = l.Wait(ctx, []*Device{l.state(t, "v1").Device}, func([]Missing) {})
	ok(t, err)
}

// Whoever stops waiting for many nodes to go off does not wait for the last of them, nor
// does it hold up others when nodes that were off get their power back.
func TestManyGoOff(t *testing.T) {
	t.Parallel()
	const nodes = 30
	l := newLab(t, []auth.Name{"bob"})
	for i := range nodes {
		_, err := l.Create(t.Context(), "bob", Virtual{Name: Name(fmt.Sprintf("v%d", i)), Model: "m1"}, nil)
		ok(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := l.PowerOff(ctx, "bob", parse("my-nodes"), false, consent.Agreement{}, func(Change) { cancel() })
	wantFault(t, err, fault.Interrupted, "interrupted: what was begun goes on")
	l.works.Wait()
	if len(l.grid.stopped) != nodes {
		t.Errorf("%d nodes are off", len(l.grid.stopped))
	}
	d := l.device(t, "v1")
	if !l.quickly(d, power.Port{}) || l.quickly(d, power.Port{Switch: d.MAC}) {
		t.Error("what is ordered takes a while, and nothing else of a virtual node")
	}
}

// A physical node without means of power is on only if it was heard of: of one that does
// not answer nobody knows.
func TestOnWithoutMeans(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1")
	for _, c := range []struct {
		state State
		want  string
	}{{Off, "none"}, {Unreachable, "none"}, {Up, "skipped"}, {Booting, "skipped"}} {
		l.status.change("n1", func(s *Status) { s.State = c.state })
		var all []string
		ok(t, l.PowerOn(t.Context(), "alice", parse("n1"), consent.Agreement{}, outcomes(&all)))
		equal(t, string(c.state), all, "n1 "+c.want)
	}
}
