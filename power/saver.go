package power

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"walt/ethernet"
	"walt/state"
)

// machines are the virtual nodes that save power when they are off, by their MAC.
var machines = state.NewTable[bool]("machine").Guarded(0)

// AddMachine notes within tx that a virtual node is one that uses power: it is
// switched off when nobody needs it, as ports are.
func AddMachine(tx state.Tx, node ethernet.MAC) error {
	return machines.Put(tx, string(node), true)
}

// Machines returns the machines that have power, or are about to. A transaction that
// calls it conflicts with whatever makes them more.
func Machines(r state.Reader) (on []ethernet.MAC, err error) {
	for key, err := range machines.Keys(r, "", "") {
		if err != nil {
			return nil, err
		}
		o, _, err := orders.Find(r, own(ethernet.MAC(key)).key())
		if err != nil {
			return nil, err
		}
		if o.Will != turnOff {
			on = append(on, ethernet.MAC(key))
		}
	}
	return on, nil
}

// lastUse is when somebody last used a node, by its MAC: only of nodes that are
// connected to a known port, and of machines, since nobody else asks.
var lastUse = state.NewTable[time.Time]("last-use")

// saving is since when power is saved, under that key; while it is not there is no row.
// A node that was idle all the time before is not switched off at once.
var saving = state.NewTable[time.Time]("saving")

const savingKey = "since"

// savingSince returns since when power is saved, which may be from now on.
func (p *Ports) savingSince(r state.Reader) (since time.Time, known bool, err error) {
	since, known, err = saving.Find(r, savingKey)
	if !known {
		since = p.Now().UTC()
	}
	return since, known, err
}

// NoteUse notes within tx that a node is used now.
func (p *Ports) NoteUse(tx state.Tx, node ethernet.MAC) error {
	l, err := linkOf(tx, node)
	if err == nil && l.IsZero() && !l.Told {
		var machine bool
		if machine, _, err = machines.Find(tx, string(node)); !machine {
			return err
		}
	}
	if err != nil {
		return err
	}
	return lastUse.Put(tx, string(node), p.Now().UTC())
}

// startClock has a node be idle from now on that is alone on a port: it may have
// just come to be what the server can switch off.
func (p *Ports) startClock(tx state.Tx, port Port) error {
	here, err := connectedTo(tx, port)
	if err != nil || len(here) != 1 {
		return err
	}
	return p.NoteUse(tx, here[0])
}

// startClocks is startClock for all ports of a switch.
func (p *Ports) startClocks(tx state.Tx, sw ethernet.MAC) error {
	all, err := cablesOf(tx, sw)
	if err != nil {
		return err
	}
	for _, number := range slices.Compact(slices.Sorted(maps.Values(all))) {
		if err := p.startClock(tx, Port{Switch: sw, Number: number}); err != nil {
			return err
		}
	}
	return nil
}

// Due is a node that loses its power unless somebody uses it before.
type Due struct {
	Node string
	At   time.Time
}

// Due returns which of the devices, and of those on the ports of the switches among
// them, are idle nodes, in the order of their time.
func (p *Ports) Due(ctx context.Context, devices []ethernet.MAC) (due []Due, err error) {
	idle := time.Duration(p.idle.Load())
	if idle <= 0 {
		return nil, nil
	}
	err = p.Store.View(ctx, func(r state.Reader) error {
		due = nil
		all, err := p.idleNodes(r)
		if err != nil {
			return err
		}
		for _, n := range all {
			if !slices.Contains(devices, n.mac) && !slices.Contains(devices, n.port.Switch) {
				continue
			}
			name, err := p.name(r, n.mac)
			if err != nil {
				return err
			}
			due = append(due, Due{name, n.since.Add(idle)})
		}
		return nil
	})
	slices.SortFunc(due, func(a, b Due) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Node, b.Node)) })
	return due, err
}

// SetIdle changes how long a node is idle before its port is switched off; 0 is
// for ever. When it is not for ever any more, all nodes are idle from then on.
func (p *Ports) SetIdle(d time.Duration) {
	p.idle.Store(int64(d))
	wake(p.idleSet)
}

// save orders that the ports of idle nodes are switched off, until ctx ends.
// What makes a node idle later than now cannot make it due before the pause is
// over; what makes it due earlier wakes save.
func (p *Ports) save(ctx context.Context) error {
	watch := p.Store.Watch(cables.Prefix(""), switches.Prefix(""))
	defer watch.Close()
	for {
		pause, err := p.orderOff(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.Log.Error("save power", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-p.idleSet:
		case <-watch.Changed():
		}
	}
}

// sweep is how many ports one transaction switches off at most.
const sweep = 30

// orderOff orders in one transaction that ports of idle nodes are switched off,
// and returns when to look again.
func (p *Ports) orderOff(ctx context.Context) (pause time.Duration, err error) {
	idle := time.Duration(p.idle.Load())
	_, err = p.Store.Update(ctx, func(tx state.Tx) error {
		if idle <= 0 {
			pause = time.Hour
			return saving.Delete(tx, savingKey)
		}
		pause = idle
		if since, known, err := p.savingSince(tx); err != nil {
			return err
		} else if !known {
			if err := saving.Put(tx, savingKey, since); err != nil {
				return err
			}
		}
		all, err := p.idleNodes(tx)
		if err != nil {
			return err
		}
		now, ordered := p.Now().UTC(), 0
		for _, n := range all {
			if due := n.since.Add(idle).Sub(now); due > 0 {
				pause = min(pause, due)
				continue
			}
			if ordered == sweep {
				pause = 0
				break
			}
			ordered++
			if err := orders.Put(tx, n.port.key(), order{Will: turnOff, Device: n.mac, Since: now}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return time.Minute, err
	}
	return pause, nil
}

// idleNode is one that nobody needs and whose port has power.
type idleNode struct {
	mac   ethernet.MAC
	port  Port
	since time.Time // it is not needed, nor used
}

// idleNodes returns them all.
func (p *Ports) idleNodes(r state.Reader) (found []idleNode, err error) {
	all, err := controlled(r)
	if err != nil {
		return nil, err
	}
	for key, err := range machines.Keys(r, "", "") {
		if err != nil {
			return nil, err
		}
		all[ethernet.MAC(key)] = own(ethernet.MAC(key))
	}
	began, _, err := p.savingSince(r)
	if err != nil {
		return nil, err
	}
	for mac, port := range all {
		if _, ordered, err := orders.Find(r, port.key()); err != nil {
			return nil, err
		} else if ordered {
			continue
		}
		d, _, err := p.Devices.Behind(r, mac)
		if err != nil {
			return nil, err
		}
		if !d.Node || !d.Idle {
			continue
		}
		if port.fed() {
			if s, err := p.SupplyOf(r, mac); err != nil {
				return nil, err
			} else if s.Astray {
				continue
			}
		}
		if p.Devices.Deaf(mac) {
			if woken, err := p.Woken(r, mac); err != nil {
				return nil, err
			} else if woken {
				continue
			}
		}
		last, _, err := lastUse.Find(r, string(mac))
		if err != nil {
			return nil, err
		}
		for _, since := range []time.Time{d.Since, began} {
			if last.Before(since) {
				last = since
			}
		}
		found = append(found, idleNode{mac, port, last})
	}
	return found, nil
}
