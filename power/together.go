package power

import (
	"cmp"
	"context"
	"slices"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/state"
)

// holder is who has a node, and since when.
type holder struct {
	Owner string    `json:"owner,omitempty"` // "": it is free
	Since time.Time `json:"since,omitzero"`
}

func (d Device) holder() holder { return holder{d.Owner, d.Since.UTC()} }

func (h holder) is(as holder) bool { return h.Owner == as.Owner && h.Since.Equal(as.Since) }

// PowerCycleTogether orders within tx that the outlets of a strip are off for a moment, as
// long as all that they feed is whose it is now. asked says that somebody agreed to that;
// else it is not done either while one of the others is up. It returns the port that is to
// be given to Execute after the commit.
func (p *Ports) PowerCycleTogether(tx state.Tx, s Strip, asked bool) (Port, error) {
	port := fed(s.Nodes[0])
	was, _, err := orders.Find(tx, port.key()) // it may be getting its power back
	if err != nil {
		return Port{}, err
	}
	o := order{
		Will: cycle, Device: s.Nodes[0], Since: p.Now().UTC(), Attended: true, Cut: was.Cut,
		Outlets: s.Outlets, Held: map[ethernet.MAC]holder{}, Unasked: !asked, Run: p.run,
	}
	all := slices.Clone(s.Nodes)
	for _, other := range s.Others {
		all = append(all, other.Node)
	}
	for _, mac := range all {
		d, _, err := p.Devices.Behind(tx, mac)
		if err != nil {
			return Port{}, err
		}
		o.Held[mac] = d.holder()
	}
	return port, orders.Put(tx, port.key(), o)
}

// together reports whether it is about all that hangs on some outlets.
func (o order) together() bool { return len(o.Held) > 0 }

// CycledWith returns the port of an open order that cuts the power of a node with others; the
// zero Port when there is none.
func (p *Ports) CycledWith(r state.Reader, node ethernet.MAC) (Port, error) {
	s, err := p.SupplyOf(r, node)
	if err != nil {
		return Port{}, err
	}
	others, err := sharing(r, node, s.Outlets)
	if err != nil {
		return Port{}, err
	}
	for _, mac := range append(others, node) {
		o, _, err := orders.Find(r, fed(mac).key())
		if err != nil {
			return Port{}, err
		}
		if _, held := o.Held[node]; held && o.Will == cycle {
			return fed(mac), nil
		}
	}
	return Port{}, nil
}

// agreed is a fault unless all that an order cuts is whose it was when that was ordered.
func (p *Ports) agreed(r state.Reader, o order) error {
	if o.Will != cycle || !o.together() {
		return nil
	}
	for _, outlet := range o.Outlets {
		all, _, err := feeds.Find(r, outlet.String())
		if err != nil {
			return err
		}
		for _, mac := range all {
			d, _, err := p.Devices.Behind(r, mac)
			if err != nil {
				return err
			}
			was, known := o.Held[mac]
			why := ""
			switch {
			case !known:
				why = "hangs on " + outlet.String() + " by now, too"
			case !was.is(d.holder()):
				why = "changed hands meanwhile"
			case o.Unasked && d.Up && mac != o.Device:
				why = "is up by now"
			default:
				continue
			}
			return fault.Failedf("%s %s, and nobody was asked about that: its power stays on", cmp.Or(d.Name, string(mac)), why)
		}
	}
	return nil
}

// isAbandoned reports whether nobody is left who waits for what comes of an order to which
// somebody agreed, or what came of a cycle could not be noted: it cuts nothing any more.
func (p *Ports) isAbandoned(port Port, o order) bool {
	if o.Will != cycle {
		return false
	}
	if since, unnoted := p.unnoted.Load(port); unnoted && o.Since.Equal(since.(time.Time)) {
		return true
	}
	return o.together() && (o.Run != p.run || p.Now().Sub(o.Since).Abs() >= attendance)
}

// abandon has such an order give back what it may have cut.
func (p *Ports) abandon(ctx context.Context, port Port) error {
	_, err := p.Store.Update(ctx, func(tx state.Tx) error {
		o, found, err := orders.Find(tx, port.key())
		if err != nil || !found || !p.isAbandoned(port, o) {
			return err
		}
		o.Will, o.Since, o.Attended = turnOn, p.Now().UTC(), false
		return orders.Put(tx, port.key(), o)
	})
	return err
}

// holdAll waits for the turn at a port, and at whatever else hangs on its outlets: who keeps
// the power of another outlet is not to lose that at the same time.
func (p *Ports) holdAll(ctx context.Context, port Port) (leave func(), err error) {
	all := []Port{port}
	if port.fed() {
		err := p.Store.View(ctx, func(r state.Reader) error {
			all = []Port{port}
			s, err := p.SupplyOf(r, port.Switch)
			if err != nil {
				return err
			}
			o, _, err := orders.Find(r, port.key())
			if err != nil {
				return err
			}
			others, err := sharing(r, port.Switch, append(slices.Clip(s.Outlets), o.Outlets...))
			for _, mac := range others {
				all = append(all, fed(mac))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b Port) int { return cmp.Compare(a.Switch, b.Switch) })
	}
	var held []func()
	leave = func() {
		for _, leave := range held {
			leave()
		}
	}
	for _, one := range all {
		left, err := p.sessions.hold(ctx, one)
		if err != nil {
			leave()
			return nil, err
		}
		held = append(held, left)
	}
	return leave, nil
}
