package power

import (
	"context"
	"time"

	"walt/ethernet"
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
	Cut      time.Time `json:"cut,omitzero"`   // since when the port is known to be off
	Error    string    `json:"error,omitzero"` // why it could not be done yet
}

// attendance is how long an order that is attended to is left alone.
const attendance = 2 * time.Minute

func (o order) same(as order) bool { return o.Will == as.Will && o.Since.Equal(as.Since) }

var orders = state.NewTable[order]("order") // by Port.key

// PowerOn orders within tx that a node gets its power back if that may be off.
// It returns the port that is to be given to Execute after the commit, the zero
// Port when there is nothing to do, or nothing that can be done.
func (p *Ports) PowerOn(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, false, true)
}

// PowerCycle is PowerOn that also cuts the power of a node for a moment when it
// may be on.
func (p *Ports) PowerCycle(tx state.Tx, node ethernet.MAC) (Port, error) {
	return p.order(tx, node, true, true)
}

// PowerCycleSoon is PowerCycle for who does not wait for it: Run carries it out.
func (p *Ports) PowerCycleSoon(tx state.Tx, node ethernet.MAC) error {
	_, err := p.order(tx, node, true, false)
	return err
}

func (p *Ports) order(tx state.Tx, node ethernet.MAC, again, attended bool) (Port, error) {
	port, err := control(tx, node)
	if err != nil || port.IsZero() {
		return Port{}, err
	}
	o, found, err := orders.Find(tx, port.key())
	if err != nil {
		return Port{}, err
	}
	switch {
	case !found && !again:
		return Port{}, nil
	case again && o.Cut.IsZero():
		o.Will = cycle
	case o.Will == turnOff:
		o.Will = turnOn
	default:
		return port, nil
	}
	o.Device, o.Since, o.Attended = node, p.Now().UTC(), attended
	return port, orders.Put(tx, port.key(), o)
}

// giveBack orders within tx that a port gets its power back if that was cut:
// nobody is to be without power because of what was connected there before.
func (p *Ports) giveBack(tx state.Tx, port Port) error {
	o, found, err := orders.Find(tx, port.key())
	if err != nil || !found || o.Will != turnOff {
		return err
	}
	o.Will, o.Since, o.Attended = turnOn, p.Now().UTC(), false
	return orders.Put(tx, port.key(), o)
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
// off, or is about to be.
func (p *Ports) IsOff(r state.Reader, mac ethernet.MAC) (bool, error) {
	l, err := linkOf(r, mac)
	if err != nil || l.IsZero() {
		return false, err
	}
	o, _, err := orders.Find(r, l.key())
	return o.Will == turnOff, err
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
