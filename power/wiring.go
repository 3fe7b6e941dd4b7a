package power

import (
	"cmp"
	"context"

	"walt/ethernet"
	"walt/state"
)

// Wiring is where devices are connected and which ports are off, in memory as the
// store's last commits left it: for what is shown. What decides reads the store.
type Wiring struct {
	ports map[ethernet.MAC]Port
	fed   map[ethernet.MAC]*Supply
	open  map[Port]order
}

// Port is the one that a device is connected to, the zero Port if none is known.
func (w Wiring) Port(mac ethernet.MAC) Port { return w.ports[mac] }

// Supply is what administrators told of the power of a node, nil if nothing.
func (w Wiring) Supply(mac ethernet.MAC) *Supply { return w.fed[mac] }

// Off is that of Ports.
func (w Wiring) Off(mac ethernet.MAC) (why Off, off bool) {
	o := w.order(mac)
	return Off{o.By, o.Since}, o.Will == turnOff
}

// Bare reports whether no device is connected to a port, as far as is known.
func (w Wiring) Bare() bool { return len(w.ports) == 0 }

// Quiet reports whether nothing is to become of the power of any device.
func (w Wiring) Quiet() bool { return len(w.open) == 0 }

// Ordered reports whether something is to become of the power of a device.
func (w Wiring) Ordered(mac ethernet.MAC) bool { return w.order(mac).Will != "" }

func (w Wiring) order(mac ethernet.MAC) order {
	if o, is := w.open[fed(mac)]; is {
		if o.Partly { // it has power
			return order{}
		}
		return o
	}
	port := w.ports[mac]
	if port.IsZero() {
		port = own(mac)
	}
	return w.open[port]
}

// wiring keeps a Wiring as the store changes.
type wiring struct {
	Wiring
	on       map[ethernet.MAC]map[ethernet.MAC]int // the rows of cables
	cables   *state.Mirror[map[ethernet.MAC]int]
	orders   *state.Mirror[order]
	supplies *state.Mirror[Supply]
}

func newWiring(s state.Store) *wiring {
	w := &wiring{}
	w.cables = state.NewMirror(s, cables, w.plugged)
	w.orders = state.NewMirror(s, orders, w.ordered)
	w.supplies = state.NewMirror(s, supplies, w.supplied)
	return w
}

func (w *wiring) plugged(all bool, changes []state.Change[map[ethernet.MAC]int]) {
	if all {
		w.ports, w.on = map[ethernet.MAC]Port{}, map[ethernet.MAC]map[ethernet.MAC]int{}
	}
	for _, c := range changes {
		sw := ethernet.MAC(c.Key)
		for mac := range w.on[sw] {
			if w.ports[mac].Switch == sw { // else it is connected to another one by now
				delete(w.ports, mac)
			}
		}
		if c.Row == nil {
			delete(w.on, sw)
			continue
		}
		w.on[sw] = *c.Row
		for mac, number := range *c.Row {
			w.ports[mac] = Port{Switch: sw, Number: number}
		}
	}
}

func (w *wiring) supplied(all bool, changes []state.Change[Supply]) {
	if all {
		w.fed = map[ethernet.MAC]*Supply{}
	}
	for _, c := range changes {
		if c.Row == nil {
			delete(w.fed, ethernet.MAC(c.Key))
		} else {
			w.fed[ethernet.MAC(c.Key)] = c.Row
		}
	}
}

func (w *wiring) ordered(all bool, changes []state.Change[order]) {
	if all {
		w.open = map[Port]order{}
	}
	for _, c := range changes {
		if c.Row == nil {
			delete(w.open, portOf(c.Key))
		} else {
			w.open[portOf(c.Key)] = *c.Row
		}
	}
}

// Wiring calls f, which must be quick, with the wiring as the last commit left it: it
// belongs to the ports, and changes after f.
func (p *Ports) Wiring(ctx context.Context, f func(Wiring)) error {
	var inner, innermost error
	err := p.wiring.cables.Read(ctx, func() {
		inner = p.wiring.orders.Read(ctx, func() {
			innermost = p.wiring.supplies.Read(ctx, func() { f(p.wiring.Wiring) })
		})
	})
	return cmp.Or(err, inner, innermost)
}
