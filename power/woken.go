package power

import (
	"context"
	"errors"
	"time"

	"walt/await"
	"walt/ethernet"
	"walt/fault"
	"walt/pause"
	"walt/state"
)

// Waker sends magic packets.
type Waker interface {
	// Able is a fault when they reach nobody.
	Able() error
	// Wake sends one to a network card.
	Wake(mac ethernet.MAC) error
}

// Presence is what is seen of a node that tells by itself that it is on.
type Presence int

const (
	Silent   Presence = iota // it does not answer
	Starting                 // it was told to start, or boots: it cannot be asked for anything yet
	Awake                    // it answers
)

const (
	// packets are sent at a time, so far apart. Nodes are woken one after the other, so that a
	// lab that comes on does not blow the fuse.
	packets, packetsApart = 3, 70 * time.Millisecond
	// settleLimit is how long a node may go on answering that was asked to shut down. Then it
	// does not.
	settleLimit = 2 * time.Minute
	// settleEvery is how often it is looked at.
	settleEvery = 500 * time.Millisecond
)

// asleep is what is told of a node that was woken.
const asleep = "it was sent magic packets, and has not begun to boot yet"

// woken reports whether packets wake a node with this link.
func (l Link) woken(r state.Reader, node ethernet.MAC) (bool, error) {
	if !l.Told {
		return false, nil
	}
	s, _, err := supplies.Find(r, string(node))
	return s.WOL, err
}

// Woken reports whether a node is switched off by asking it, and on by packets: nothing can
// cut its power.
func (p *Ports) Woken(r state.Reader, node ethernet.MAC) (bool, error) {
	l, err := linkOf(r, node)
	if err != nil {
		return false, err
	}
	return l.woken(r, node)
}

// Rousing reports whether a node is sent packets, and has not shown itself yet.
func (p *Ports) Rousing(r state.Reader, node ethernet.MAC) (bool, error) {
	woken, err := p.Woken(r, node)
	if err != nil || !woken {
		return false, err
	}
	o, open, err := orders.Find(r, fed(node).key())
	return open && o.Will != turnOff, err
}

// MayCut is a fault when nothing can cut the power of a node.
func (p *Ports) MayCut(r state.Reader, node ethernet.MAC) error {
	woken, err := p.Woken(r, node)
	if err != nil || !woken {
		return err
	}
	name, err := p.name(r, node)
	if err != nil {
		return err
	}
	return fault.Failedf("nothing can cut the power of %s: it is woken by packets (power=wol); nothing changed", name).
		WithHint("without --hard it is asked; if it does not answer, its own power button helps")
}

// canWake is a fault when no node can be woken.
func (p *Ports) canWake() error {
	if p.Waker == nil {
		return fault.Failedf("this server wakes no nodes").WithHint("see: help show power")
	}
	return p.Waker.Able()
}

// carryOutWoken is carryOut for a node that packets wake. That it is on is known when it boots,
// or answers: until then its order stays.
func (p *Ports) carryOutWoken(ctx context.Context, port Port) (did order, err error) {
	name, err := state.Read(ctx, p.Store, func(r state.Reader) (string, error) { return p.name(r, port.Switch) })
	if err != nil {
		return order{}, err
	}
	defer await.Begin(ctx, name, "looking whether it is up")()
	for {
		var is Presence
		did, is, err = p.settled(ctx, port, name)
		switch {
		case err != nil || did.Will == "":
			return order{}, err
		case did.Will == turnOff:
			err = p.askOff(ctx, port, did, is)
		case is != Awake:
			return order{}, p.rouse(ctx, port, did)
		case did.Will == cycle:
			err = p.Devices.Restart(ctx, port.Switch)
		}
		if !errors.Is(err, errOvertaken) {
			return did, err
		}
	}
}

// settled returns what is ordered of a node, and what is seen of it. If it is to be on, and
// was asked to shut down before, that is when it has, or does not any more.
func (p *Ports) settled(ctx context.Context, port Port, name string) (o order, is Presence, err error) {
	told := false
	for {
		if _, o, err = p.ordered(ctx, port); err != nil || o.Will == "" {
			return o, is, err
		}
		if is, err = p.Devices.Presence(ctx, port.Switch); err != nil {
			return o, is, err
		}
		if o.Will == turnOff || is != Awake || p.Now().Sub(o.Asked).Abs() >= settleLimit {
			return o, is, nil
		}
		if !told {
			told = true
			defer await.Begin(ctx, name, "it was shutting down, and still answers")()
		}
		if err := pause.For(ctx, settleEvery); err != nil {
			return o, is, err
		}
	}
}

// deaf is what is told of a node that cannot be woken.
const deaf = "its network card cannot be woken by packets, as its driver says"

// askOff has a node shut down that answers, and can be woken. That it is asked is in the store before, so that
// whoever wants it on does not take it for on as long as it goes on answering.
func (p *Ports) askOff(ctx context.Context, port Port, o order, is Presence) error {
	switch is {
	case Silent:
		return nil
	case Starting:
		return fault.Failedf("it starts, and cannot be asked to shut down before it is up")
	}
	if p.Devices.Deaf(port.Switch) {
		return fault.Failedf("it is not shut down: %s", deaf)
	}
	_, err := p.Store.Update(ctx, func(tx state.Tx) error {
		now, found, err := orders.Find(tx, port.key())
		if err != nil {
			return err
		}
		if !found || !now.same(o) {
			return errOvertaken
		}
		now.Asked = p.Now().UTC()
		return orders.Put(tx, port.key(), now)
	})
	if err != nil {
		return err
	}
	return p.Devices.ShutDown(ctx, port.Switch)
}

// rouse wakes a node. Its order stays, and is tried again, until it has shown itself.
func (p *Ports) rouse(ctx context.Context, port Port, o order) error {
	err := p.wakeUp(ctx, port.Switch)
	if err != nil && ctx.Err() != nil {
		return err
	}
	why := asleep
	if err != nil {
		why = fault.Reason(err)
	}
	_, noted := p.Store.Update(context.WithoutCancel(ctx), func(tx state.Tx) error {
		now, found, err := orders.Find(tx, port.key())
		if err != nil || !found || !now.same(o) || !now.Attended && now.Error == why {
			return err
		}
		now.Attended, now.Error = false, why
		return orders.Put(tx, port.key(), now)
	})
	return errors.Join(err, noted)
}

// wakeUp sends a node packets when it is its turn.
func (p *Ports) wakeUp(ctx context.Context, node ethernet.MAC) error {
	if err := p.canWake(); err != nil {
		return err
	}
	select {
	case p.waking <- struct{}{}:
		defer func() { <-p.waking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for range packets {
		if err := p.Waker.Wake(node); err != nil {
			return err
		}
		if err := pause.For(ctx, packetsApart); err != nil {
			return err
		}
	}
	return nil
}

// noteAwake notes within tx that a node boots that packets wake. What is about to be shut
// down still is, when it is up.
func (p *Ports) noteAwake(tx state.Tx, node ethernet.MAC) error {
	o, open, err := orders.Find(tx, fed(node).key())
	if err != nil || !open || o.Will == turnOff && o.Cut.IsZero() {
		return err
	}
	return errors.Join(p.writeOn(tx, target{}, fed(node), o, o), p.NoteUse(tx, node))
}
