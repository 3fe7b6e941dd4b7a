package power

import (
	"errors"

	"walt/ethernet"
	"walt/journal"
	"walt/state"
)

// Move is a device that is connected to another port than before; the zero Port
// is none.
type Move struct {
	Device   string
	From, To Port
	Where    string // To in words, as in "port 3 (Gi1/0/3) of sw-1"
}

// Connect writes within tx that a user told where a device is connected, the
// zero Port being nowhere.
func (p *Ports) Connect(tx state.Tx, actor journal.Actor, mac ethernet.MAC, to Port) error {
	told := Link{Port: to, ByHand: !to.IsZero()}
	if from, err := linkOf(tx, mac); err != nil || from.Port == told.Port && from.ByHand == told.ByHand {
		return err
	}
	_, err := p.move(tx, actor, mac, told)
	return err
}

// NoteBoot notes within tx that a node boots: it cannot be connected to its port
// when that is off. What a user told stays, but the port gets its power back.
func (p *Ports) NoteBoot(tx state.Tx, node ethernet.MAC) error {
	if minds, err := p.MindsBoot(tx, node); err != nil || !minds {
		return err
	}
	l, err := linkOf(tx, node)
	if err != nil {
		return err
	}
	woken, err := l.woken(tx, node)
	switch {
	case err != nil:
		return err
	case woken:
		return p.noteAwake(tx, node)
	case l.Told: // its outlets are others, or their device did not do what it said
		return errors.Join(p.giveBack(tx, fed(node)), p.NoteUse(tx, node))
	case l.IsZero(): // a virtual node: who runs it is told soon
		return nil
	case l.ByHand:
		return errors.Join(p.giveBack(tx, l.Port), p.NoteUse(tx, node))
	}
	_, err = p.move(tx, journal.Server, node, Link{})
	return err
}

// MindsBoot reports whether NoteBoot of a node may change anything.
func (p *Ports) MindsBoot(r state.Reader, node ethernet.MAC) (bool, error) {
	woken, err := p.Woken(r, node)
	if err != nil || !woken {
		off, offErr := p.IsOff(r, node)
		return off, errors.Join(err, offErr)
	}
	_, open, err := orders.Find(r, fed(node).key())
	return open, err
}

// move changes within tx where a device is connected. Both ports get their power
// back if it was cut: what is connected there is another device now.
func (p *Ports) move(tx state.Tx, actor journal.Actor, mac ethernet.MAC, to Link) (Move, error) {
	from, err := linkOf(tx, mac)
	if err != nil {
		return Move{}, err
	}
	device, err := p.name(tx, mac)
	if err != nil {
		return Move{}, err
	}
	if err := plug(tx, mac, to); err != nil {
		return Move{}, err
	}
	m := Move{Device: device, From: from.Port, To: to.Port}
	e := journal.Event{Type: journal.Registration, Actor: actor, Node: device, Detail: "connected to no known port"}
	if !from.IsZero() {
		if e.From, err = p.words(tx, from.Port); err != nil {
			return m, err
		}
		if err := errors.Join(p.giveBack(tx, from.Port), p.startClock(tx, from.Port)); err != nil {
			return m, err
		}
	}
	if !to.IsZero() {
		if e.To, err = p.words(tx, to.Port); err != nil {
			return m, err
		}
		m.Where = e.To
		if err := errors.Join(p.giveBack(tx, to.Port), p.startClock(tx, to.Port)); err != nil {
			return m, err
		}
		e.Detail = "connected to " + e.To
	}
	return m, p.Journal.Record(tx, e)
}
