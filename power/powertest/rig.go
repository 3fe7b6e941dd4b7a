// Package powertest imitates switches, for tests of what works with their ports.
// It checks nothing. Its one surprising rule: a request takes a millisecond, so
// that requests can overlap.
package powertest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"walt/pause"
	"walt/power"
	"walt/power/snmp"
)

// Rig is the switches of a lab, each with as many ports as are asked for.
type Rig struct {
	mu     sync.Mutex
	off    map[string]bool // "address/port"
	cycled []string
	err    map[string]error // of an address: it refuses, or is silent
	busy   map[string]int   // requests under way, by address
	most   int              // at the same time, of one switch

	Seen     map[string][]snmp.Neighbour // by address
	Called   map[string][]snmp.PortName  // likewise
	Patience time.Duration               // how long a request takes that fails
	Hurried  bool                        // a power cycle takes no time
	OnChange func(port string, on bool)  // called when a port is switched, unless nil
}

// New returns a rig whose ports all have power.
func New() *Rig {
	return &Rig{off: map[string]bool{}, err: map[string]error{}, Seen: map[string][]snmp.Neighbour{}, Called: map[string][]snmp.PortName{}, busy: map[string]int{}}
}

func (r *Rig) Dial(sw snmp.Switch) (power.Agent, error) { return &fakeAgent{r, sw.Address}, nil }

type fakeAgent struct {
	*Rig
	address string
}

func (a *fakeAgent) at(port int) string {
	return a.address + "/" + strconv.Itoa(port)
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
		time.Sleep(a.Patience)
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
		if a.OnChange != nil {
			a.OnChange(a.at(port), on)
		}
	})
}

func (a *fakeAgent) Cycle(ctx context.Context, port int, off time.Duration) error {
	if a.Hurried {
		off = 0
	}
	err := errors.Join(a.SetPower(ctx, port, false), pause.For(ctx, off), a.SetPower(ctx, port, true))
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.cycled = append(a.cycled, a.at(port))
	}
	return err
}

func (a *fakeAgent) Neighbours(context.Context) (found []snmp.Neighbour, err error) {
	err = a.ask(func() { found = a.Seen[a.address] })
	return found, err
}

func (a *fakeAgent) Names(context.Context) (called []snmp.PortName, err error) {
	err = a.ask(func() { called = a.Called[a.address] })
	return called, err
}

func (a *fakeAgent) Close() error { return nil }

// Refuse makes a switch fail from now on, or not with nil.
func (r *Rig) Refuse(address string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err[address] = err
}

// Dark lists the ports without power, each "address/port".
func (r *Rig) Dark() (all []string) {
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

// Cycles lists the ports that were off for a moment since the last call.
func (r *Rig) Cycles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.cycled
	r.cycled = nil
	slices.Sort(all)
	return all
}

// Most returns how many requests were under way at the same time at one switch.
func (r *Rig) Most() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}
