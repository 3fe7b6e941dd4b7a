package power

import (
	"context"
	"errors"
	"time"

	"walt/ethernet"
	"walt/power/driver"
	"walt/state"
)

// will is what is to become of a port.
type will string

const (
	turnOff will = "off"
	turnOn  will = "on"
	cycle   will = "cycle" // off for a moment
)

// order is the durable intent about a port: it is in the store as long as the
// port is meant to be without power, or is not known to have it. A port without
// one has power.
type order struct {
	Will   will         `json:"will"`
	Device ethernet.MAC `json:"device"` // for whose sake
	Since  time.Time    `json:"since"`  // of the order
	// Attended says that who gave the order is about to carry it out and waits
	// for what comes of it: others leave it alone for a while.
	Attended bool      `json:"attended,omitempty"`
	By       string    `json:"by,omitempty"` // the user who wants it off; "": it saves power
	Cut      time.Time `json:"cut,omitzero"` // since when the port is known to be off
	// Asked is since when a node that packets wake may be about to shut down: it was asked to.
	Asked time.Time `json:"asked,omitzero"`
	Error string    `json:"error,omitzero"` // why it could not be done yet
	// Partly says of an order to switch on that the node has power, and that this is about its
	// other outlets: nobody waits for them.
	Partly bool `json:"partly,omitempty"`
	// Of a cycle of outlets that several nodes share: all these outlets, and who had each of
	// the nodes there when it was ordered.
	Outlets driver.Supply           `json:"outlets,omitempty"`
	Held    map[ethernet.MAC]holder `json:"held,omitempty"`
	Unasked bool                    `json:"unasked,omitempty"` // nobody agreed: not while others are up
	Run     string                  `json:"run,omitempty"`     // in which somebody agreed, see Ports.run
}

// attendance is how long an order that is attended to is left alone.
const attendance = 2 * time.Minute

func (o order) same(as order) bool { return o.Will == as.Will && o.Since.Equal(as.Since) }

// off is for how long the port is off; a clock that was set back says nothing of that.
func (o order) off(now time.Time) time.Duration {
	if o.Cut.IsZero() {
		return 0
	}
	return max(0, now.Sub(o.Cut))
}

var orders = state.NewTable[order]("order") // by Port.key

// Wake orders within tx that a node gets its power back if that may be off, unless a
// user wants it off. It returns the port that is to be given to Execute after the
// commit, the zero Port when there is nothing to do, or nothing that can be done.
func (p *Ports) Wake(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, demand{attended: true})
}

// PowerOn is Wake whoever wants it off.
func (p *Ports) PowerOn(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, demand{attended: true, whoever: true})
}

// SwitchOn is PowerOn also of a node that is not ordered to be off, where the server does not
// know whether it is on: who packets wake may have been switched off by hand, as outlets of
// drivers may; and the store may be a copy that is older than what they are.
func (p *Ports) SwitchOn(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, demand{attended: true, whoever: true, unsure: true})
}

// PowerCycle is PowerOn that also cuts the power of a node for a moment when it
// may be on. That of virtual nodes is not the business of orders.
func (p *Ports) PowerCycle(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, demand{attended: true, whoever: true, again: true})
}

// StartAnew is PowerOn that also cuts the power of a node for a moment when it may be on, though
// something is ordered of it: as after a power cycle that failed, or before it is off.
func (p *Ports) StartAnew(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, demand{attended: true, whoever: true, again: true, open: true})
}

// PowerCycleSoon is PowerCycle for who does not wait for it: Run carries it out. A
// node that a user wants off stays off.
func (p *Ports) PowerCycleSoon(tx state.Tx, node ethernet.MAC) error {
	_, err := p.order(tx, node, demand{again: true})
	return err
}

// demand is what is ordered of a node that is to have power.
type demand struct {
	again    bool // it starts anew if it has power
	open     bool // only if something is ordered
	whoever  bool // also if a user wants it off
	attended bool // see order
	unsure   bool // also if nothing is ordered, of a node that no port of a switch powers
}

func (p *Ports) order(tx state.Tx, node ethernet.MAC, d demand) (Port, error) {
	l, err := linkOf(tx, node)
	if err != nil {
		return Port{}, err
	}
	port, err := l.control(tx, node)
	may := !port.IsZero() // it may be off for a moment
	if err == nil && !may {
		port, err = ownOrdered(tx, node, l.Told)
	}
	if err != nil || port.IsZero() {
		return Port{}, err
	}
	o, found, err := orders.Find(tx, port.key())
	if err != nil {
		return Port{}, err
	}
	woken, err := l.woken(tx, node)
	if err != nil {
		return Port{}, err
	}
	switch {
	case !found && (d.open || !d.again && !(d.unsure && port.fed())), o.By != "" && !d.whoever, o.Partly && !d.again:
		return Port{}, nil
	case d.again && (o.Cut.IsZero() || woken) && may:
		o.Will = cycle
	case o.Will == turnOff, !found:
		o.Will = turnOn
		if port.own() {
			if err := p.Devices.Admit(tx, node); err != nil {
				return Port{}, err
			}
		}
		if err := p.alight(tx, port); err != nil {
			return Port{}, err
		}
	default:
		return port, nil
	}
	o.Device, o.Since, o.Attended, o.By, o.Partly = node, p.Now().UTC(), d.attended, "", false
	return port, orders.Put(tx, port.key(), o)
}

// PowerOff orders within tx that a node loses its power because a user wants that,
// until somebody wants it to have power again. It returns the port that is to be given
// to Execute after the commit; the zero Port if the server has no means to. A virtual
// node needs none but the server. One that shares outlets is to be off with all that these
// feed, see MayBeOff.
func (p *Ports) PowerOff(tx state.Tx, node ethernet.MAC, virtual bool, by string) (Port, error) {
	port := own(node)
	if !virtual {
		l, err := linkOf(tx, node)
		if err != nil {
			return Port{}, err
		}
		if port, err = l.control(tx, node); err != nil {
			return Port{}, err
		}
		if port.IsZero() {
			if s, err := p.SupplyOf(tx, node); err != nil || len(s.Outlets) == 0 {
				return Port{}, err
			}
			port = fed(node)
		}
	}
	o, _, err := orders.Find(tx, port.key())
	if err != nil || o.Will == turnOff && o.By != "" {
		return port, err
	}
	return port, orders.Put(tx, port.key(), order{Will: turnOff, Device: node, Since: p.Now().UTC(), Attended: true, By: by, Cut: o.Cut, Asked: o.Asked})
}

// giveBack orders within tx that a port gets its power back if that was cut:
// nobody is to be without power because of what was connected there before.
func (p *Ports) giveBack(tx state.Tx, port Port) error {
	o, found, err := orders.Find(tx, port.key())
	if err != nil || !found || o.Will != turnOff {
		return err
	}
	o.Will, o.Since, o.Attended = turnOn, p.Now().UTC(), false
	return errors.Join(orders.Put(tx, port.key(), o), p.alight(tx, port))
}

// giveAllBack is giveBack for all ports of a switch.
func (p *Ports) giveAllBack(tx state.Tx, sw ethernet.MAC) error {
	var all []Port
	for key, err := range orders.Keys(tx, string(sw)+"/", "") {
		if err != nil {
			return err
		}
		all = append(all, portOf(key))
	}
	for _, port := range all {
		if err := p.giveBack(tx, port); err != nil {
			return err
		}
	}
	return nil
}

// IsOff reports whether the port that a device is believed to be connected to is
// off, or is about to be; or a virtual node is.
func (p *Ports) IsOff(r state.Reader, mac ethernet.MAC) (bool, error) {
	_, off, err := p.Off(r, mac)
	return off, err
}

// Off is that a device is off, or is about to be.
type Off struct {
	By    string    // the user who wants that, "" when it saves power
	Since time.Time // of the order
}

// Off is IsOff, with the reason.
func (p *Ports) Off(r state.Reader, mac ethernet.MAC) (o Off, off bool, err error) {
	l, err := linkOf(r, mac)
	if err != nil {
		return o, false, err
	}
	found, _, err := orders.Find(r, l.of(mac).key())
	return Off{found.By, found.Since}, found.Will == turnOff, err
}

// Dark is why a node that is to be on may be without power, as its switch or device failed to
// give it; "" when it has not. One that packets wake tells that by itself.
func (p *Ports) Dark(r state.Reader, node ethernet.MAC) (why string, err error) {
	l, err := linkOf(r, node)
	if err != nil {
		return "", err
	}
	if woken, err := l.woken(r, node); err != nil || woken {
		return "", err
	}
	o, _, err := orders.Find(r, l.of(node).key())
	if o.Will != turnOn || o.Partly {
		return "", err
	}
	return o.Error, err
}

// of is the port that an order of a device with this link is about.
func (l Link) of(device ethernet.MAC) Port {
	switch {
	case l.Told:
		return fed(device)
	case l.Port.IsZero():
		return own(device)
	}
	return l.Port
}

// orders returns all open orders.
func (p *Ports) orders(ctx context.Context) (all map[Port]order, err error) {
	err = p.Store.View(ctx, func(r state.Reader) (err error) {
		all, err = openOrders(r)
		return err
	})
	return all, err
}

func openOrders(r state.Reader) (map[Port]order, error) {
	all := map[Port]order{}
	for e, err := range orders.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		all[portOf(e.Key)] = e.Value
	}
	return all, nil
}
