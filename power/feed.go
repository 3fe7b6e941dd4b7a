package power

import (
	"errors"
	"fmt"
	"slices"

	"walt/ethernet"
	"walt/fault"
	"walt/power/driver"
	"walt/state"
)

// SetSupply writes within tx what gives a node its power. While something is ordered of the
// outlets that it has, they stay: nobody would give them their power back.
func (p *Ports) SetSupply(tx state.Tx, node ethernet.MAC, s Supply) error {
	was, err := p.SupplyOf(tx, node)
	if err != nil {
		return err
	}
	if s.Off != 0 && len(s.Outlets) == 0 {
		return fault.Failedf("power.off is for nodes that outlets of drivers feed; nothing changed").WithHint("see: help show power")
	}
	s.Outlets = p.Drivers.Canonical(s.Outlets)
	if !slices.Equal(was.Outlets, s.Outlets) || was.None != s.None || was.WOL != s.WOL {
		if err := p.feed(tx, node, was, s); err != nil {
			return err
		}
	}
	return putSupply(tx, node, s)
}

// feed is SetSupply of what is something else than it was.
func (p *Ports) feed(tx state.Tx, node ethernet.MAC, was, is Supply) error {
	if err := p.Drivers.Check(is.Outlets); err != nil {
		return err
	}
	if is.WOL {
		if err := p.canWake(); err != nil {
			return err
		}
	}
	if err := p.mayLeave(tx, node, was, is); err != nil {
		return err
	}
	l, err := linkOf(tx, node)
	if err == nil && !l.IsZero() {
		err = p.giveBack(tx, l.Port)
	}
	if err != nil {
		return err
	}
	if err := p.unfeed(tx, node, was); err != nil {
		return err
	}
	for _, o := range is.Outlets {
		if err := p.isToldAs(tx, o); err != nil {
			return err
		}
		others, _, err := feeds.Find(tx, o.String())
		if err != nil {
			return err
		}
		for _, other := range others { // that nobody may switch any more
			if err := errors.Join(p.share(tx, other), p.share(tx, node)); err != nil {
				return err
			}
		}
		if err := feeds.Put(tx, o.String(), append(others, node)); err != nil {
			return err
		}
	}
	p.troubles.forget(fed(node)) // those of what it is taken from
	return lastUse.Put(tx, string(node), p.Now().UTC())
}

// isToldAs is a fault for an outlet that feeds others by the name that another driver has for it:
// nobody would see that they share it.
func (p *Ports) isToldAs(r state.Reader, o driver.Outlet) error {
	for _, as := range p.Drivers.Aliases(o) {
		others, found, err := feeds.Find(r, as.String())
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		names := make([]string, len(others))
		for i, mac := range others {
			if names[i], err = p.name(r, mac); err != nil {
				return err
			}
		}
		slices.Sort(names)
		return fault.Failedf("%s is %s, which feeds %s; nothing changed", o, as, fault.Few(names)).
			WithHint("tell it by the same driver: power=%s", as)
	}
	return nil
}

// mayLeave is a fault while something is ordered of the outlets of a node. When one of
// them is of no driver any more, nobody can carry that out: it is ordered of those that feed the
// node from then on, or dropped if there are none. So it is when they could not be switched on.
func (p *Ports) mayLeave(tx state.Tx, node ethernet.MAC, was, is Supply) error {
	o, found, err := orders.Find(tx, fed(node).key())
	if err != nil || !found {
		return err
	}
	if was.WOL && o.Will != turnOff { // nothing is dark that it would leave behind
		return p.drop(tx, fed(node), o)
	}
	name, err := p.name(tx, node)
	if err != nil {
		return err
	}
	if gone := p.Drivers.Check(was.Outlets); gone != nil {
		if len(is.Outlets) > 0 {
			o.Since, o.Attended, o.Error = p.Now().UTC(), false, ""
			return orders.Put(tx, fed(node).key(), o)
		}
		return errors.Join(p.drop(tx, fed(node), o),
			p.record(tx, target{}, fed(node), o, "", "gave up: "+fault.Reason(gone)))
	}
	if o.Will == turnOn && o.Error != "" {
		return p.leave(tx, node, was, is, o)
	}
	f := fault.Failedf("%s is %s at %s; nothing changed", name, o.words(), was)
	if o.Will == turnOff {
		return f.WithHint("switch it on, and then tell what feeds it: node on %s", name)
	}
	return f.WithHint("wait until it has its power, or could not be given it (see: power show)")
}

// leave has others feed a node whose outlets, or some of them, could not be switched on: one that
// was mistyped, or whose device is broken, would keep it otherwise. The nodes that they feed, too,
// are to be on in its place.
func (p *Ports) leave(tx state.Tx, node ethernet.MAC, was, is Supply, o order) error {
	others, err := sharing(tx, node, was.Outlets)
	if err != nil {
		return err
	}
	now := p.Now().UTC()
	for _, mac := range others {
		_, ordered, err := orders.Find(tx, fed(mac).key())
		if err == nil && !ordered {
			err = orders.Put(tx, fed(mac).key(), order{Will: turnOn, Device: mac, Since: now, Error: o.Error})
		}
		if err != nil {
			return err
		}
	}
	if err := p.record(tx, target{}, fed(node), o, "", fmt.Sprintf("left %s, which may be off: %s", was, o.Error)); err != nil {
		return err
	}
	if len(is.Outlets) == 0 {
		return p.drop(tx, fed(node), o)
	}
	o.Since, o.Attended, o.Error, o.Partly = now, false, "", false
	return orders.Put(tx, fed(node).key(), o)
}

// unfeed takes a node from the outlets that fed it. Nodes that have one for themselves
// from then on are idle from then on.
func (p *Ports) unfeed(tx state.Tx, node ethernet.MAC, was Supply) error {
	for _, o := range was.Outlets {
		all, _, err := feeds.Find(tx, o.String())
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(slices.Clone(all), func(mac ethernet.MAC) bool { return mac == node })
		if len(all) == 0 {
			err = feeds.Delete(tx, o.String())
		} else {
			err = feeds.Put(tx, o.String(), all)
		}
		if err == nil && len(all) == 1 {
			err = p.NoteUse(tx, all[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropSupply drops that of a node that was forgotten when its outlets have their power.
func (p *Ports) dropSupply(tx state.Tx, node ethernet.MAC) error {
	if l, err := linkOf(tx, node); err != nil || !l.Told {
		return err
	}
	if _, known, err := p.Devices.Behind(tx, node); err != nil || known {
		return err
	}
	was, err := p.SupplyOf(tx, node)
	if err != nil {
		return err
	}
	o, open, err := orders.Find(tx, fed(node).key())
	switch {
	case err != nil:
		return err
	case open && was.WOL: // nobody is left to wait for
		err = p.drop(tx, fed(node), o)
	case open:
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(p.unfeed(tx, node, was), putSupply(tx, node, Supply{}))
}
