package nodes

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/state"
)

// Behind tells the ports of the lab whose MAC address it is: the power of free
// nodes that nobody is visiting may be saved.
func (l *Lab) Behind(r state.Reader, mac ethernet.MAC) (power.Device, bool, error) {
	d, here, err := findMAC(r, mac)
	if err != nil || !here {
		return power.Device{}, false, err
	}
	return power.Device{
		Name: string(d.Name), Node: d.Kind == Node, Virtual: d.Virtual(), Owner: ownerOf(d), Up: l.status.of(d.Name).State == Up,
		Idle: d.available() && d.Image.IsDefault(d.Model) && !l.visitors.Any(string(d.Name)), Since: d.Since,
	}, true, nil
}

// ownerOf is who has a node, "" for nobody.
func ownerOf(d Device) string {
	if d.Kind != Node || d.Free() {
		return ""
	}
	return string(d.Owner())
}

// PoweredOff notes that a node lost its power.
func (l *Lab) PoweredOff(mac ethernet.MAC) {
	var name Name
	var why power.Off
	var off bool
	err := l.Store.View(context.Background(), func(r state.Reader) (err error) {
		if name, err = macs.Get(r, string(mac)); err == nil {
			why, off, err = l.Ports.Off(r, mac)
		}
		return err
	})
	switch {
	case err == nil:
		l.status.change(name, func(s *Status) {
			now := s.cause
			if off {
				now = causeOf(why)
			}
			*s = Status{State: Off, cause: now, seen: s.seen}
		})
	case !errors.Is(err, state.ErrNotFound):
		l.Log.Error("note that a node is off", "mac", mac, "err", err)
	}
}

// ofSwitch is how the server last reached a switch.
func (l *Lab) ofSwitch(r state.Reader, mac ethernet.MAC) (Status, error) {
	c, err := l.Ports.Contact(r, mac)
	s := Status{State: Up, Addr: c.Address, Heard: c.Heard, Why: c.Why}
	switch {
	case c.Heard.IsZero():
		s.State = unasked
	case c.Why != "":
		s.State = Unreachable
	}
	return s, err
}

// Rescan asks the explorable switches of the set which device is connected to
// which of their ports. Those that do not answer tell nothing.
func (l *Lab) Rescan(ctx context.Context, user auth.Name, set Set) (told []power.Exploration, moves []power.Move, err error) {
	var asked []ethernet.MAC
	err = l.Store.View(ctx, func(r state.Reader) error {
		asked = nil
		explorable, err := power.Explorable(r)
		if err != nil {
			return err
		}
		if len(explorable) == 0 {
			return fault.Failedf("no switch may be explored").WithHint("allow it with: device config SWITCH lldp.explore=true (see: help show power)")
		}
		ds, err := set.expand(l.stored(ctx, r), user, deviceScope)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.Kind != Switch {
				return fault.Failedf("%s is not a switch; nothing changed", d.Name).WithHint("see what each device is with: device show")
			}
			if !explorable[d.MAC] {
				return fault.Failedf("%s may not be explored; nothing changed", d.Name).
					WithHint("allow it with: device config %s lldp.explore=true", d.Name)
			}
			asked = append(asked, d.MAC)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	told, moves, err = l.Ports.Explore(ctx, user.Actor(), asked)
	slices.SortFunc(moves, func(a, b power.Move) int { return Name(a.Device).Compare(Name(b.Device)) })
	return told, moves, err
}

// Due returns which of the devices, and of those on the ports of the switches among
// them, lose their power unless somebody uses them before, in the order of the time.
func (l *Lab) Due(ctx context.Context, names []Name) ([]power.Due, error) {
	var addresses []ethernet.MAC
	err := l.Store.View(ctx, func(r state.Reader) error {
		addresses = nil
		for _, n := range names {
			d, found, err := devices.Find(r, string(n))
			if err != nil {
				return err
			}
			if found {
				addresses = append(addresses, d.MAC)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.Ports.Due(ctx, addresses)
}

// LookAtPower asks the switches and devices of a report what power its ports have now, for
// 4 s at most; of virtual nodes who runs them has told.
func (l *Lab) LookAtPower(ctx context.Context, report *power.Report) {
	l.Ports.Look(ctx, report)
	for i := range report.Ports {
		p := &report.Ports[i]
		if p.Switch != "" || p.Outlet != "" {
			continue
		}
		switch l.status.of(Name(p.Node)).State {
		case Off, Powersave:
			p.State = "off"
		default:
			p.State = "on"
		}
	}
}

// PowerOf returns the outlets of drivers that feed a device, and what these say now, or that
// packets wake it; false for one that is powered in another way.
func (l *Lab) PowerOf(ctx context.Context, d *Device) (is power.PortState, fed bool, err error) {
	err = l.Ports.Wiring(ctx, func(w power.Wiring) {
		s := w.Supply(d.MAC)
		fed = s != nil && !s.None
	})
	if err != nil || !fed {
		return is, false, err
	}
	report, err := l.PowerReport(ctx)
	if err != nil {
		return is, false, err
	}
	report.Ports = slices.DeleteFunc(report.Ports, func(p power.PortState) bool { return p.Outlet == "" || p.Node != string(d.Name) })
	if len(report.Ports) == 0 { // it is not any more
		return is, false, nil
	}
	l.Ports.Look(ctx, &report)
	return report.Ports[0], true, nil
}

// PowerReport returns what the server does with the power of ports, by switch and number;
// of nodes that outlets of drivers feed, which follow them by name; and of virtual nodes.
func (l *Lab) PowerReport(ctx context.Context) (power.Report, error) {
	report, err := l.Ports.Report(ctx)
	for i, p := range report.Ports {
		if p.Power != "unknown" || p.Outlet != "wol" {
			continue
		}
		if s := l.status.of(Name(p.Node)); s.State == Up && s.alone.IsZero() {
			report.Ports[i].Power = "on"
		}
	}
	slices.SortFunc(report.Ports, func(a, b power.PortState) int {
		if (a.Switch == "") != (b.Switch == "") {
			return cmp.Compare(b.Switch, a.Switch)
		}
		if (a.Outlet == "") != (b.Outlet == "") {
			return cmp.Compare(b.Outlet, a.Outlet)
		}
		return cmp.Or(Name(a.Switch).Compare(Name(b.Switch)), cmp.Compare(a.Number, b.Number), Name(a.Node).Compare(Name(b.Node)))
	})
	return report, err
}
