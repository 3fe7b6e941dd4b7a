package power

import (
	"cmp"
	"context"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/state"
)

// Report is what the server does with the power of ports.
type Report struct {
	Ports []PortState   // in no order
	Saved time.Duration // for how long ports were off, all added up
}

// PortState is a port that the server may switch; or a virtual node that is a machine, or
// is off, or a node that outlets of drivers feed, which have no Switch.
type PortState struct {
	Port
	Switch string
	Outlet string // that feed it, in place of a port, as in "rack1:7+rack1:8", or "wol"; "" if none do
	// Outlets are the same one by one, State and Doubt what Look found: on, off, unknown, or one
	// for each outlet as in "on+off", where they differ; and why it is not known.
	Outlets      []OutletState
	State, Doubt string
	Last         Trouble   // in doing what was ordered
	Name         string    // that the switch calls it, "" if that is not known
	Node         string    // that is connected to it, "" if none is known
	Power        string    // on, off, or what is about to be done
	Since        time.Time // of that, if it is not on
	Error        string    // why it is not done
}

// Report returns what the store knows of ports and their power.
func (p *Ports) Report(ctx context.Context) (report Report, err error) {
	err = p.Store.View(ctx, func(r state.Reader) error {
		report = Report{}
		found := map[Port]PortState{}
		all, err := controlled(r)
		if err != nil {
			return err
		}
		for mac, port := range all {
			d, _, err := p.Devices.Behind(r, mac)
			if err != nil {
				return err
			}
			if d.Node {
				found[port] = PortState{Node: d.Name, Power: "on"}
			}
		}
		for key, err := range machines.Keys(r, "", "") {
			if err != nil {
				return err
			}
			found[own(ethernet.MAC(key))] = PortState{Power: "on"}
		}
		for e, err := range supplies.Scan(r, "", "") {
			if err != nil {
				return err
			}
			if e.Value.None {
				continue
			}
			s := PortState{Outlet: e.Value.String(), Power: "on"}
			for _, o := range e.Value.Outlets {
				s.Outlets = append(s.Outlets, OutletState{Outlet: o})
			}
			if e.Value.Astray {
				s.Error = astray
			}
			if e.Value.WOL {
				s.Power = "unknown"
				if p.Devices.Deaf(ethernet.MAC(e.Key)) {
					s.Doubt = deaf
				}
			}
			if err := p.Drivers.Check(e.Value.Outlets); err != nil {
				s.Power, s.Error = "unknown", fault.Reason(err)
			}
			found[fed(ethernet.MAC(e.Key))] = s
		}
		open, err := openOrders(r)
		if err != nil {
			return err
		}
		for port, o := range open {
			s := found[port]
			s.Power, s.Since, s.Error = o.words(), o.Since, cmp.Or(o.Error, s.Error)
			if !o.Cut.IsZero() {
				s.Since = o.Cut
				if !port.own() {
					report.Saved += o.off(p.Now())
				}
			}
			found[port] = s
		}
		named := map[ethernet.MAC]map[int]string{}
		for port, s := range found {
			s.Port, s.Last = port, p.troubles.of(port)
			if !port.ofSwitch() {
				if s.Node, err = p.name(r, port.Switch); err != nil {
					return err
				}
				report.Ports = append(report.Ports, s)
				continue
			}
			if named[port.Switch] == nil {
				if named[port.Switch], err = p.PortNames(r, port.Switch); err != nil {
					return err
				}
			}
			s.Name = named[port.Switch][port.Number]
			if s.Switch, err = p.name(r, port.Switch); err != nil {
				return err
			}
			report.Ports = append(report.Ports, s)
		}
		for e, err := range saved.Scan(r, "", "") {
			if err != nil {
				return err
			}
			report.Saved += e.Value
		}
		return nil
	})
	return report, err
}

// words tell what an order is about.
func (o order) words() string {
	switch {
	case o.Will == turnOff && !o.Cut.IsZero():
		return "off"
	case o.Will == turnOff:
		return "to be off"
	case o.Will == cycle:
		return "rebooting"
	case o.Partly:
		return "on"
	}
	return "to be on"
}
