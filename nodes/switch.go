package nodes

import (
	"errors"

	"walt/ethernet"
	"walt/fault"
	"walt/power/snmp"
	"walt/state"
)

// managed is how the server may work with a switch. It holds secrets: nothing
// but the store and package power sees it whole.
type managed struct {
	snmp.Switch
	Explore bool // its tables are read to find what hangs on which port
	PoE     bool // the power of its ports may be cut

	mac  ethernet.MAC
	gone bool // its device was forgotten, and a port still waits for its power
}

// switches holds the settings of each switch, by its MAC.
var switches = state.NewTable[managed]("switch")

// getSwitch reads the settings of a switch, with its present name.
func getSwitch(r state.Reader, mac ethernet.MAC) (managed, error) {
	sw, err := switches.Get(r, string(mac))
	if err != nil {
		return sw, err
	}
	name, err := macs.Get(r, string(mac))
	if errors.Is(err, state.ErrNotFound) {
		name, err, sw.gone = Name(mac), nil, true
	}
	sw.Name, sw.mac = string(name), mac
	return sw, err
}

// explorable are the MACs of the switches that may be explored.
func explorable(r state.Reader) (map[ethernet.MAC]bool, error) {
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

// complete checks that a switch that is to be worked with can be.
func (sw managed) complete() error {
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

// leave is what becomes, within tx, of the ports that a device that is
// forgotten had to do with: they get their power back.
func (l *Lab) leave(tx state.Tx, d Device) error {
	if d.Port.Switch != "" {
		if err := l.giveBack(tx, d.Port); err != nil {
			return err
		}
	}
	if d.Kind != Switch {
		return nil
	}
	all, err := everything(tx)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.Port.Switch == d.MAC && n.Name != d.Name {
			if err := plugs.Delete(tx, plug(n.Port, n)); err != nil {
				return err
			}
			n.Port = Port{}
			if err := devices.Put(tx, string(n.Name), n); err != nil {
				return err
			}
		}
	}
	return errors.Join(l.giveAllBack(tx, d.MAC), l.tidy(tx, d.MAC))
}

// giveAllBack is giveBack for all ports of a switch.
func (l *Lab) giveAllBack(tx state.Tx, sw ethernet.MAC) error {
	keys, err := collect(orders.Keys(tx, string(sw)+"/"))
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := l.giveBack(tx, portOf(key)); err != nil {
			return err
		}
	}
	return nil
}

func collect(keys func(func(string, error) bool)) (all []string, err error) {
	for key, err := range keys {
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}
