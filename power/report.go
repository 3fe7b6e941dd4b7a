package power

import (
	"cmp"
	"context"
	"slices"
	"time"

	"walt/ethernet"
	"walt/state"
)

// Report is what the server does with the power of ports.
type Report struct {
	Ports []PortState   // by switch and number
	Saved time.Duration // for how long ports were off, all added up
}

// PortState is a port that the server may switch.
type PortState struct {
	Port
	Switch string
	Name   string    // that the switch calls it, "" if that is not known
	Node   string    // that is connected to it, "" if none is known
	Power  string    // on, off, or what is about to be done
	Since  time.Time // of that, if it is not on
	Error  string    // why it is not done
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
		open, err := openOrders(r)
		if err != nil {
			return err
		}
		for port, o := range open {
			if port.own() {
				continue
			}
			s := found[port]
			s.Power, s.Since, s.Error = o.words(), o.Since, o.Error
			if !o.Cut.IsZero() {
				s.Since = o.Cut
				report.Saved += p.Now().Sub(o.Cut)
			}
			found[port] = s
		}
		named := map[ethernet.MAC]map[int]string{}
		for port, s := range found {
			s.Port = port
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
	slices.SortFunc(report.Ports, func(a, b PortState) int {
		return cmp.Or(cmp.Compare(a.Switch, b.Switch), cmp.Compare(a.Number, b.Number))
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
	}
	return "to be on"
}
