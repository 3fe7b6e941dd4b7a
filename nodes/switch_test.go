package nodes

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/power/powertest"
)

// wired is a lab with a switch sw-1 of the address "one:161", on whose ports
// from 1 on the nodes hang.
func wired(t testing.TB, idle time.Duration, users []auth.Name, nodes ...Name) (testLab, *powertest.Rig) {
	t.Helper()
	l := newLab(t, users, nodes...)
	r := powertest.New()
	l.Ports.Dial = r.Dial
	l.Ports.SetIdle(idle)
	l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
	for i, n := range nodes {
		l.configure(t, n, "switch=sw-1", "port="+strconv.Itoa(i+1))
	}
	return l, r
}

func (l testLab) addSwitch(t testing.TB, name Name, address string, more ...string) {
	t.Helper()
	_, err := l.Register(t.Context(), "alice", Announcement{Name: name, MAC: macOf(string(name))})
	ok(t, err)
	l.configure(t, name, append([]string{"type=switch", "address=" + address, "snmp.version=2", "snmp.community=private"}, more...)...)
}

func (l testLab) configure(t testing.TB, name Name, words ...string) {
	t.Helper()
	want, _, err := ParseAssignments(words, func() []string { return nil })
	ok(t, err)
	_, err = l.Configure(t.Context(), "alice", Only(name), false, want, consent.Agreement{Whoever: true})
	ok(t, err)
}

// live runs the lab until the function that it returns is called.
func (l testLab) live(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		ok(t, <-ended)
	}
}

func (l testLab) state(t testing.TB, n Name) DeviceStatus {
	t.Helper()
	all, _, err := l.Devices(t.Context(), "alice", Only(n))
	ok(t, err)
	found, err := all.Now(t.Context())
	ok(t, err)
	return found[0]
}

// becomes waits in a bubble and checks the state that a node is in then.
func (l testLab) becomes(t *testing.T, n Name, after time.Duration, want State) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if s := l.state(t, n); s.State != want {
		t.Errorf("%s is %s, not %s: %+v", n, s.State, want, s.Status)
	}
}

// Whatever is done to a switch asks for the consent of those whose nodes it
// carries, and of nobody else; what was agreed to is one moment's nodes.
func TestSwitchThatCarriesNodesOfOthers(t *testing.T) {
	t.Parallel()
	l, _ := wired(t, time.Hour, []auth.Name{"bob"}, "n1", "n2", "n3", "n4")
	ctx := t.Context()
	for user, set := range map[auth.Name]string{"alice": "n1", "bob": "n2"} {
		_, err := l.Acquire(ctx, user, parse(set), Remarks{}, consent.Agreement{})
		ok(t, err)
	}
	l.addSwitch(t, "sw-2", "two")
	configure := func(who auth.Name, name Name, given consent.Agreement, words ...string) error {
		want, _, err := ParseAssignments(words, func() []string { return nil })
		ok(t, err)
		_, err = l.Configure(ctx, who, Only(name), false, want, given)
		return err
	}
	asked := wantContest(t, configure("alice", "sw-1", consent.Agreement{}, "poe.reboots=false"), false, "n2 bob")
	if c := asked.Nodes[0]; c.Of != "sw-1" || c.Where != "port 2 of sw-1" {
		t.Errorf("asked of %+v", c)
	}
	_, err := l.Acquire(ctx, "bob", parse("n3"), Remarks{}, consent.Agreement{})
	ok(t, err)
	wantContest(t, configure("alice", "sw-1", consent.Agreement{Shown: asked.Nodes}, "poe.reboots=false"), true, "n2 bob", "n3 bob")
	wantContest(t, configure("bob", "sw-1", consent.Agreement{}, "poe.reboots=false"), false, "n1 alice")
	wantContest(t, configure("bob", "n4", consent.Agreement{}, "port=1"), false, "n1 alice")
	wantContest(t, configure("alice", "sw-2", consent.Agreement{}, "switch=sw-1", "port=2"), false, "n2 bob")
	ok(t, configure("alice", "sw-2", consent.Agreement{}, "switch=sw-1", "port=24"))
	ok(t, configure("alice", "n4", consent.Agreement{}, "port=9"))
	_, err = l.Rename(ctx, "alice", "sw-1", "core", consent.Agreement{})
	wantContest(t, err, false, "n2 bob", "n3 bob")
	_, err = l.Forget(ctx, "alice", parse("sw-1,n2"), consent.Agreement{})
	wantContest(t, err, false, "n2 bob", "n3 bob")
	_, err = l.Forget(ctx, "alice", parse("sw-2"), consent.Agreement{})
	ok(t, err)
	_, err = l.Release(ctx, "bob", parse("n2,n3"))
	ok(t, err)
	_, err = l.Forget(ctx, "alice", parse("sw-1"), consent.Agreement{})
	ok(t, err)
}
