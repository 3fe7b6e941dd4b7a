package nodes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/power/snmp"
)

// rig is the switches of a lab, each with as many ports as are asked for.
type rig struct {
	mu       sync.Mutex
	off      map[string]bool // "address/port"
	cycled   []string
	err      map[string]error // of an address: it refuses, or is silent
	seen     map[string][]snmp.Neighbour
	busy     map[string]int // requests under way, by address
	most     int            // at the same time, of one switch
	patience time.Duration  // how long a request takes that fails
	hurried  bool           // a power cycle takes no time
	onChange func(port string, on bool)
}

func newRig() *rig {
	return &rig{off: map[string]bool{}, err: map[string]error{}, seen: map[string][]snmp.Neighbour{}, busy: map[string]int{}}
}

func (r *rig) dial(sw snmp.Switch) (Agent, error) { return &fakeAgent{r, sw.Address}, nil }

type fakeAgent struct {
	*rig
	address string
}

func (a *fakeAgent) at(port int) string {
	return Port{Switch: ethernet.MAC(a.address), Number: port}.key()
}

// ask is one request.
func (a *fakeAgent) ask(f func()) error {
	a.mu.Lock()
	a.busy[a.address]++
	a.most = max(a.most, a.busy[a.address])
	a.mu.Unlock()
	time.Sleep(time.Millisecond)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy[a.address]--
	if err := a.err[a.address]; err != nil {
		a.mu.Unlock()
		time.Sleep(a.patience)
		a.mu.Lock()
		return err
	}
	f()
	return nil
}

func (a *fakeAgent) Power(_ context.Context, port int) (on bool, err error) {
	err = a.ask(func() { on = !a.off[a.at(port)] })
	return on, err
}

func (a *fakeAgent) SetPower(_ context.Context, port int, on bool) error {
	return a.ask(func() {
		a.off[a.at(port)] = !on
		if a.onChange != nil {
			a.onChange(a.at(port), on)
		}
	})
}

func (a *fakeAgent) Cycle(ctx context.Context, port int, off time.Duration) error {
	if a.hurried {
		off = 0
	}
	err := errors.Join(a.SetPower(ctx, port, false), pause(ctx, off), a.SetPower(ctx, port, true))
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.cycled = append(a.cycled, a.at(port))
	}
	return err
}

func (a *fakeAgent) Neighbours(context.Context) (found []snmp.Neighbour, err error) {
	err = a.ask(func() { found = a.seen[a.address] })
	return found, err
}

func (a *fakeAgent) Close() error { return nil }

// refuse makes a switch fail from now on, or not with nil.
func (r *rig) refuse(address string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err[address] = err
}

// dark lists the ports without power.
func (r *rig) dark() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for port, off := range r.off {
		if off {
			all = append(all, port)
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) cycles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.cycled
	r.cycled = nil
	slices.Sort(all)
	return all
}

// wired is a lab with a switch sw-1 of the address "one:161", on whose ports
// from 1 on the nodes hang.
func wired(t testing.TB, idle time.Duration, users []auth.Name, nodes ...Name) (testLab, *rig) {
	t.Helper()
	l := newLab(t, users, nodes...)
	r := newRig()
	l.lines.dial = r.dial
	l.SetIdle(idle)
	l.addSwitch(t, "sw-1", "one", "poe.reboots=true")
	for i, n := range nodes {
		l.configure(t, n, "switch=sw-1", "port="+numberOf(i+1))
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
	want, err := ParseAssignments(words)
	ok(t, err)
	_, err = l.Configure(t.Context(), "alice", Only(name), false, want, consent.Given{Whoever: true})
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

func (l testLab) state(t testing.TB, n Name) NodeState {
	t.Helper()
	found, _, err := l.Devices(t.Context(), "alice", Only(n))
	ok(t, err)
	return found[0]
}
