package nodes

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/state"
)

func scopeOf(nodesOnly bool) scope {
	if nodesOnly {
		return nodeScope
	}
	return deviceScope
}

// subjectOf reads a device with its settings.
func subjectOf(r state.Reader, ports *power.Ports, d Device) (*subject, error) {
	s := newSubject(d)
	var err error
	if d.Kind == Switch {
		if s.sw, err = ports.Settings(r, d.MAC); err != nil {
			return nil, err
		}
	}
	s.sw.Name = string(d.Name)
	if s.outlet, err = ports.Outlet(r, d.MAC); err == nil {
		s.supply, err = ports.SupplyOf(r, d.MAC)
	}
	return s, err
}

// Configure gives settings to the devices of the set, nodes of others with
// consent: all of them, or none if one is not allowed.
func (l *Lab) Configure(ctx context.Context, user auth.Name, set Set, nodesOnly bool, want []Assignment, given consent.Agreement) (done []Name, err error) {
	if err := l.learnPorts(ctx, user, set, nodesOnly, want); err != nil {
		return nil, err
	}
	var configured []Name
	_, exposes := wanted(want)
	if err := l.canExpose(want); err != nil {
		return nil, err
	}
	c, err := l.commit(ctx, user.Actor(), given, func(c *change) error {
		tx := c.tx
		done, configured = nil, nil
		if err := mayAssign(tx, user, want); err != nil {
			return err
		}
		ds, err := set.expand(l.stored(ctx, tx), user, scopeOf(nodesOnly))
		if err != nil {
			return err
		}
		if err := l.lineTaken(ctx, ds, want); err != nil {
			return err
		}
		if exposes {
			if err := mayExpose(ds, user, want); err != nil {
				return err
			}
		}
		var subjects []*subject
		for _, d := range ds {
			s, err := subjectOf(tx, l.Ports, d)
			if err != nil {
				return err
			}
			if err := s.assign(want); err != nil {
				return err
			}
			if err := l.locate(tx, s, want); err != nil {
				return err
			}
			if err := l.stillBoots(tx, d, s.Device); err != nil {
				return err
			}
			subjects = append(subjects, s)
		}
		grown, err := l.grown(tx, ds, subjects)
		if err != nil {
			return err
		}
		if err := l.room(tx, grown...); err != nil {
			return err
		}
		disturbed, err := l.disturbed(tx, user, ds, subjects)
		if err != nil {
			return err
		}
		if err := given.Check(disturbed); err != nil {
			return err
		}
		for i, s := range subjects {
			if err := l.configure(tx, &c.told, user, s, want); err != nil {
				return err
			}
			if exposes {
				if err := l.expose(tx, ds[i], s.Device); err != nil {
					return err
				}
			}
			if err := c.remodel(ds[i], s.Device); err != nil {
				return err
			}
			done, configured = append(done, s.Device.Name), append(configured, s.Device.Name)
			c.fitting.add(tx, &c.told)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := l.connectSerial(ctx, configured...); err != nil {
		return nil, err
	}
	return done, c.restart(ctx)
}

// learnPorts asks switches what they call their ports when a port is told by its
// name: now, since no transaction waits for a switch.
func (l *Lab) learnPorts(ctx context.Context, user auth.Name, set Set, nodesOnly bool, want []Assignment) error {
	byName := func(a Assignment) bool {
		_, err := strconv.Atoi(a.Value)
		return a.Key == "port" && err != nil
	}
	if !slices.ContainsFunc(want, byName) {
		return nil
	}
	asked := map[Name]ethernet.MAC{}
	err := l.Store.View(ctx, func(r state.Reader) error {
		clear(asked)
		ds, err := set.expand(l.stored(ctx, r), user, scopeOf(nodesOnly))
		if err != nil {
			return err
		}
		for _, d := range ds {
			s, err := subjectOf(r, l.Ports, d)
			if err != nil {
				return err
			}
			if err := s.assign(want); err != nil {
				return err
			}
			sw, err := s.switchOf(r)
			if err != nil {
				return err
			}
			asked[sw.Name] = sw.MAC
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, mac := range asked {
		err := l.Ports.LearnNames(ctx, mac)
		if err == nil {
			continue
		}
		known, viewErr := state.Read(ctx, l.Store, func(r state.Reader) (map[int]string, error) { return l.Ports.PortNames(r, mac) })
		if viewErr != nil {
			return viewErr
		}
		f := fault.As(err)
		switch {
		case f == nil:
			return err
		case len(known) == 0:
			return fault.Failedf("the names of the ports of %s are not known: %s; nothing changed", name, f.Msg).
				WithHint("give the number of the port (see: help show power)")
		}
	}
	return nil
}

// disturbed lists the nodes of others that the devices are or carry, and those on
// the ports that the subjects are to be connected to.
func (l *Lab) disturbed(r state.Reader, user auth.Name, ds []Device, subjects []*subject) ([]consent.Claim, error) {
	all, err := claimsOn(r, l.Ports, ds, user)
	if err != nil {
		return nil, err
	}
	for _, s := range subjects {
		if s.to.IsZero() {
			continue
		}
		there, err := l.Ports.Connected(r, s.to.Switch, s.to.Number)
		if err != nil {
			return nil, err
		}
		nodes, err := withMACs(r, there)
		if err != nil {
			return nil, err
		}
		more, err := claimsBeside(r, l.Ports, s.Device, nodes, user, all)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// assign changes a subject, in the order of the settings.
func (s *subject) assign(want []Assignment) error {
	for _, known := range settings {
		i := slices.IndexFunc(want, func(a Assignment) bool { return a.Key == known.Key })
		if i < 0 {
			continue
		}
		if !known.of(s.Device) {
			return s.lacks(known)
		}
		switch err := known.Set(s, want[i].Value); {
		case fault.As(err) != nil:
			return err
		case err != nil:
			return fault.Usagef("%s cannot be %s; nothing changed", known.Key, known.shown(want[i].Value)).WithHint("allowed: %s", known.Allowed)
		}
	}
	if s.supply.WOL && s.set.Hard {
		return fault.Failedf("nothing can cut the power of %s, which packets wake; nothing changed", s.Device.Name).
			WithHint("with power=wol say power.first=soft, too")
	}
	s.Own, s.Stranger = s.set.own(), false
	if s.Kind == Switch {
		return s.sw.Check()
	}
	return nil
}

// lacks is the fault for a setting that a device does not have.
func (s *subject) lacks(known setting) error {
	f := fault.Failedf("%s, which is %s, has no setting %s; nothing changed", s.Device.Name, s.what(), known.Key).
		WithHint("it has %s", strings.Join(settingKeys(func(o setting) bool { return o.of(s.Device) }), ", "))
	if s.Kind == Unknown && known.of(Device{Kind: Switch}) {
		f = f.WithHint("if it is a switch, say so first: type=switch\n%s", f.Hint)
	}
	return f
}

// what a device is, in words.
func (s *subject) what() string {
	switch {
	case s.Kind == Node && s.Virtual():
		return "a virtual node"
	case s.Kind == Unknown:
		return "of unknown type"
	}
	return "a " + string(s.Kind)
}

// shown is a value as it may be shown.
func (s setting) shown(value string) string {
	if s.Secret {
		return "this"
	}
	return strconv.Quote(value)
}

// configure writes within tx what became of a subject.
func (l *Lab) configure(tx state.Tx, told *journal.Bundle, user auth.Name, s *subject, want []Assignment) error {
	var became []string
	for _, a := range want {
		i := slices.IndexFunc(settings, func(k setting) bool { return k.Key == a.Key })
		if settings[i].Secret {
			became = append(became, a.Key+" changed")
		} else {
			became = append(became, a.Key+"="+a.Value)
		}
	}
	if s.moves {
		if err := l.Ports.Connect(tx, user.Actor(), s.MAC, s.to); err != nil {
			return err
		}
	}
	if assigns(want, supplyKeys...) {
		if err := l.Ports.SetSupply(tx, s.MAC, s.supply); err != nil {
			return err
		}
	}
	if s.Kind == Switch {
		if err := l.Ports.Configure(tx, s.MAC, s.sw); err != nil {
			return err
		}
	}
	told.Record(journal.Event{Type: journal.Registration, Actor: user.Actor(), Node: string(s.Device.Name), Detail: "configured: " + strings.Join(became, ", ")})
	return devices.Put(tx, string(s.Device.Name), s.Device)
}

// locate finds the port that a device is to be connected to.
func (l *Lab) locate(r state.Reader, s *subject, want []Assignment) error {
	s.moves = slices.ContainsFunc(want, func(a Assignment) bool { return a.Key == "switch" || a.Key == "port" })
	if !s.moves || s.outlet.Switch == "none" {
		return nil
	}
	sw, err := s.switchOf(r)
	if err != nil {
		return err
	}
	if s.outlet.Number == 0 {
		if s.outlet.Number, err = l.Ports.PortCalled(r, sw.MAC, s.outlet.Name); err != nil {
			return err
		}
	}
	s.to = power.Port{Switch: sw.MAC, Number: s.outlet.Number}
	return nil
}

// switchOf is the switch that a user tells a device is connected to.
func (s *subject) switchOf(r state.Reader) (Device, error) {
	on := s.outlet.Switch
	if on == "" || on == "none" || s.outlet.Number == 0 && s.outlet.Name == "" {
		return Device{}, fault.Failedf("%s needs both a switch and a port; nothing changed", s.Device.Name).
			WithHint("say both: device config %s switch=NAME port=N", s.Device.Name)
	}
	sw, err := get(r, Name(on))
	if err == nil && (sw.Kind != Switch || sw.Name == s.Device.Name) {
		err = fault.Failedf("%s is not a switch that %s can be connected to; nothing changed", sw.Name, s.Device.Name).
			WithHint("see what each device is with: device show")
	}
	return sw, err
}
