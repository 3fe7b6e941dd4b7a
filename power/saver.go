package power

import (
	"context"
	"time"

	"walt/ethernet"
	"walt/state"
)

// lastUse is when somebody last used a node, by its MAC: only of nodes that are
// connected to a known port, since nobody else asks.
var lastUse = state.NewTable[time.Time]("last-use")

// NoteUse notes within tx that a node is used now.
func (p *Ports) NoteUse(tx state.Tx, node ethernet.MAC) error {
	if l, err := linkOf(tx, node); err != nil || l.IsZero() {
		return err
	}
	return lastUse.Put(tx, string(node), p.Now().UTC())
}

// SetIdle changes how long a node is idle before its port is switched off; 0 is
// for ever.
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
	if idle <= 0 {
		return time.Hour, nil
	}
	_, err = p.Store.Update(ctx, func(tx state.Tx) error {
		pause = idle
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
func (p *Ports) idleNodes(tx state.Tx) (found []idleNode, err error) {
	all, err := controlled(tx)
	if err != nil {
		return nil, err
	}
	for mac, port := range all {
		if _, ordered, err := orders.Find(tx, port.key()); err != nil {
			return nil, err
		} else if ordered {
			continue
		}
		d, _, err := p.Devices.Behind(tx, mac)
		if err != nil {
			return nil, err
		}
		if !d.Node || !d.Idle {
			continue
		}
		last, _, err := lastUse.Find(tx, string(mac))
		if err != nil {
			return nil, err
		}
		if last.Before(d.Since) {
			last = d.Since
		}
		found = append(found, idleNode{mac, port, last})
	}
	return found, nil
}
