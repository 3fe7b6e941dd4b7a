package power

import (
	"errors"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/power/snmp"
	"walt/state"
)

// Switch is how the server may work with a switch. It holds secrets: nothing but
// the store and package snmp sees it whole.
type Switch struct {
	snmp.Switch
	Explore bool // its tables are read to find what is connected to which port
	PoE     bool // the power of its ports may be cut
}

var (
	switches = state.NewTable[Switch]("switch") // by MAC
	// saved is for how long the ports of each switch were off so far, by its MAC.
	saved = state.NewTable[time.Duration]("saved")
)

// Settings returns those of a switch, with its present name: the zero Switch
// when nothing was ever set.
func (p *Ports) Settings(r state.Reader, mac ethernet.MAC) (Switch, error) {
	t, err := p.target(r, mac)
	if errors.Is(err, state.ErrNotFound) {
		return Switch{}, nil
	}
	return t.Switch, err
}

// target is a switch that is worked with.
type target struct {
	Switch
	mac       ethernet.MAC
	forgotten bool // and a port still waits for its power
}

func (p *Ports) target(r state.Reader, mac ethernet.MAC) (target, error) {
	sw, err := switches.Get(r, string(mac))
	if err != nil {
		return target{}, err
	}
	d, known, err := p.Devices.Behind(r, mac)
	if sw.Name = d.Name; !known {
		sw.Name = string(mac)
	}
	return target{Switch: sw, mac: mac, forgotten: !known}, err
}

// Explorable returns the switches that may be explored.
func Explorable(r state.Reader) (map[ethernet.MAC]bool, error) {
	found := map[ethernet.MAC]bool{}
	for e, err := range switches.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		if e.Value.Explore {
			found[ethernet.MAC(e.Key)] = true
		}
	}
	return found, nil
}

// Check fails unless a switch that is to be worked with can be.
func (sw Switch) Check() error {
	if !sw.Explore && !sw.PoE {
		return nil
	}
	if sw.Address == "" {
		return fault.Failedf("switch %s has no address; nothing changed", sw.Name).WithHint("add: address=HOST")
	}
	s, err := snmp.Open(sw.Switch)
	if err != nil {
		return err
	}
	return s.Close()
}

// Configure writes within tx the settings of a switch. Once its ports may not be
// switched any more, they get their power back; once they may, the nodes there are
// idle from now on.
func (p *Ports) Configure(tx state.Tx, mac ethernet.MAC, sw Switch) error {
	was, _, err := switches.Find(tx, string(mac))
	switch {
	case err != nil:
		return err
	case was.PoEPorts != sw.PoEPorts:
		if err := offElsewhere(tx, mac, was.PoEPorts, sw); err != nil {
			return err
		}
	}
	switch {
	case !sw.PoE:
		err = p.giveAllBack(tx, mac)
	case !was.PoE:
		err = p.startClocks(tx, mac)
	}
	if err != nil {
		return err
	}
	return switches.Put(tx, string(mac), sw)
}

// offElsewhere fails when a port is off, or about to be, that is to be another outlet
// from now on: the one that is cut would stay so.
func offElsewhere(r state.Reader, mac ethernet.MAC, was snmp.PoEPorts, sw Switch) error {
	for e, err := range orders.Scan(r, string(mac)+"/", "") {
		if err != nil {
			return err
		}
		off := !e.Value.Cut.IsZero() || e.Value.Will == turnOff && e.Value.Error == ""
		if port := portOf(e.Key); off && was.Differ(sw.PoEPorts, port.Number) {
			return fault.Failedf("port %d of %s is switched off, at the outlet that it was; nothing changed", port.Number, sw.Name).
				WithHint("set poe.reboots=false, which gives it its power back, then poe.ports, then poe.reboots=true")
		}
	}
	return nil
}

// Forget is called within tx for a device that is forgotten: the ports that it
// had to do with get their power back.
func (p *Ports) Forget(tx state.Tx, mac ethernet.MAC) error {
	l, err := linkOf(tx, mac)
	if err != nil {
		return err
	}
	if !l.IsZero() {
		if err := p.giveBack(tx, l.Port); err != nil {
			return err
		}
	}
	if err := errors.Join(plug(tx, mac, Link{}), lastUse.Delete(tx, string(mac)), machines.Delete(tx, string(mac)), cycled.Delete(tx, string(mac)), orders.Delete(tx, own(mac).key())); err != nil {
		return err
	}
	if !l.IsZero() {
		if err := p.startClock(tx, l.Port); err != nil {
			return err
		}
	}
	below, err := cablesOf(tx, mac)
	if err != nil {
		return err
	}
	for device := range below {
		if err := plug(tx, device, Link{}); err != nil {
			return err
		}
	}
	return errors.Join(p.giveAllBack(tx, mac), portNames.Delete(tx, string(mac)), p.dropSettings(tx, mac), p.dropSupply(tx, mac))
}

// dropSettings drops those of a switch that was forgotten when none of its ports
// needs them any more.
func (p *Ports) dropSettings(tx state.Tx, sw ethernet.MAC) error {
	if _, known, err := p.Devices.Behind(tx, sw); err != nil || known {
		return err
	}
	for _, err := range orders.Keys(tx, string(sw)+"/", "") {
		return err
	}
	return switches.Delete(tx, string(sw))
}
