package power

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/power/driver"
	"walt/state"
)

// lookLimit is how long it may take to ask what power all ports and outlets have, so that a
// device that is silent holds nobody up.
const lookLimit = 4 * time.Second

// OutletState is an outlet that feeds a node, and what its device says of it.
type OutletState struct {
	Outlet driver.Outlet
	driver.Reading
}

// Trouble is the last that could not be done with a port, since the server started.
type Trouble struct {
	At  time.Time
	Why string // in words for users, "" when there was none since it did what it was told
	of  will
	cut time.Time // when what was switched off nevertheless last got its power back
}

// Trouble is what is wrong with a port, in words for users: why it is not as it should be, or
// not known how it is, and what went wrong last, with what ago says of its time.
func (p *PortState) Trouble(ago func(time.Time) string) string {
	switch {
	case p.Error != "":
		return p.Error
	case p.Last.Why == "" || p.Last.Why == p.Doubt:
		return p.wrong()
	}
	last := p.Last.Why + " (" + ago(p.Last.At) + ")"
	if wrong := p.wrong(); wrong != "" {
		return wrong + "; " + last
	}
	return last
}

// wrong is what is wrong with the state that is told of outlets: why it is not known, or what
// helps when somebody else switched them, or their device lost its own power.
func (p *PortState) wrong() string {
	switch {
	case p.Outlet == "" || p.Doubt != "":
	case p.Power == string(driver.On) && p.State == string(driver.Off):
		return "not switched off by this server; to have it on: node reboot " + p.Node
	case p.Power == string(driver.Off) && p.State == string(driver.On):
		return "not switched on by this server; to have it off: node off " + p.Node
	}
	return p.Doubt
}

// troubles are those of all ports.
type troubles struct {
	mu  sync.Mutex
	all map[Port]Trouble
}

func (t *troubles) of(port Port) Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[port]
}

func (t *troubles) forget(port Port) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, port)
}

// note keeps what came of an order: that power was given is no answer to why it could not be
// taken.
func (t *troubles) note(port Port, did will, failure error, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case failure != nil:
		if t.all == nil {
			t.all = map[Port]Trouble{}
		}
		is := Trouble{now.UTC(), fault.Reason(failure), did, t.all[port].cut}
		if _, cut := errors.AsType[driver.GivenBack](failure); cut {
			is.cut = now
		}
		t.all[port] = is
	case did != turnOn || t.all[port].of == turnOn:
		delete(t.all, port)
	}
}

// Look asks the switches and devices of a report what power its ports have now, all at the same
// time, each for one after the other, and for 4 s in all.
func (p *Ports) Look(ctx context.Context, report *Report) {
	outlets := map[driver.Outlet]string{}
	bySwitch := map[ethernet.MAC][]*PortState{}
	for i := range report.Ports {
		s := &report.Ports[i]
		for _, o := range s.Outlets {
			outlets[o.Outlet] = s.Node
		}
		if s.ofSwitch() {
			bySwitch[s.Port.Switch] = append(bySwitch[s.Port.Switch], s)
		}
	}
	var all sync.WaitGroup
	for sw, ports := range bySwitch {
		all.Go(func() { p.lookAt(ctx, sw, ports) }) // ends within its limit
	}
	found := p.Drivers.Look(ctx, outlets, lookLimit)
	all.Wait()
	for i := range report.Ports {
		s := &report.Ports[i]
		if len(s.Outlets) == 0 {
			continue
		}
		var states, why []string
		for j := range s.Outlets {
			o := &s.Outlets[j]
			o.Reading = found[o.Outlet]
			if states = append(states, string(o.State)); o.Why != "" && !slices.Contains(why, o.Why) {
				why = append(why, o.Why)
			}
		}
		if s.Doubt = strings.Join(why, "; "); len(slices.Compact(slices.Clone(states))) == 1 {
			states = states[:1]
		}
		s.State = strings.Join(states, "+")
	}
}

// lookAt is Look at ports of one switch.
func (p *Ports) lookAt(ctx context.Context, mac ethernet.MAC, ports []*PortState) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	asked := 0
	sw, err := state.Read(ctx, p.Store, func(r state.Reader) (target, error) { return p.target(r, mac) })
	if err == nil {
		err = p.sessions.use(ctx, sw.Switch.Switch, func(agent Agent) error {
			for _, s := range ports {
				on, err := agent.Power(ctx, s.Number)
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil:
					s.State, s.Doubt = string(driver.Unknown), fault.Reason(err)
				case on:
					s.State = string(driver.On)
				default:
					s.State = string(driver.Off)
				}
				asked++
			}
			return nil
		})
	}
	for _, s := range ports[asked:] {
		s.State = string(driver.Unknown)
		switch {
		case ctx.Err() != nil:
			s.Doubt = fmt.Sprintf("%s did not answer within %v", s.Switch, lookLimit)
		case err != nil:
			s.Doubt = fault.Reason(err)
		}
	}
}
