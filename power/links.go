package power

import (
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"walt/ethernet"
	"walt/state"
)

// Port is a port of a switch. The zero Port is none.
type Port struct {
	Switch ethernet.MAC `json:"switch"` // which outlives the switch's name
	Number int          `json:"number"`
}

// IsZero reports whether it is no port.
func (p Port) IsZero() bool { return p == Port{} }

func (p Port) key() string { return string(p.Switch) + "/" + strconv.Itoa(p.Number) }

// portOf is the port of a key.
func portOf(key string) Port {
	mac, number, _ := strings.Cut(key, "/")
	n, _ := strconv.Atoi(number) // written by key
	return Port{Switch: ethernet.MAC(mac), Number: n}
}

// own is what a virtual node has in the place of a port: it is connected to no switch,
// and whoever runs it has its power in his hand.
func own(node ethernet.MAC) Port { return Port{Switch: node} }

// own reports whether it is that of a virtual node.
func (p Port) own() bool { return p.Switch != "" && p.Number == 0 }

// ownOrdered is own of a node of whose power something is ordered; else the zero Port. Of a
// node of whose power administrators told it is fed.
func ownOrdered(r state.Reader, node ethernet.MAC, told bool) (Port, error) {
	port := own(node)
	if told {
		port = fed(node)
	}
	if _, found, err := orders.Find(r, port.key()); err != nil || !found {
		return Port{}, err
	}
	return port, nil
}

// Link is where a device is connected, as far as known.
type Link struct {
	Port
	// ByHand says that a user told it: only a user changes it.
	ByHand bool `json:"by_hand,omitempty"`
	// Told says that administrators told what powers the device: it has a row of supplies.
	Told bool `json:"told,omitempty"`
}

var (
	links = state.NewTable[Link]("link") // by the MAC of the device
	// cables is the same by the MAC of the switch: the numbers of the ports that
	// devices are connected to. Whoever relies on what shares a port reads the
	// row of its switch, which whoever connects another device there writes.
	cables = state.NewTable[map[ethernet.MAC]int]("cables")
)

// linkOf returns where a device is connected: nowhere is the zero Link.
func linkOf(r state.Reader, mac ethernet.MAC) (Link, error) {
	l, _, err := links.Find(r, string(mac))
	return l, err
}

// cablesOf returns what is connected to the ports of a switch.
func cablesOf(r state.Reader, sw ethernet.MAC) (map[ethernet.MAC]int, error) {
	all, found, err := cables.Find(r, string(sw))
	if !found {
		all = map[ethernet.MAC]int{}
	}
	return all, err
}

// connectedTo returns the devices that are connected to a port.
func connectedTo(r state.Reader, p Port) (devices []ethernet.MAC, err error) {
	all, err := cablesOf(r, p.Switch)
	for mac, number := range all {
		if number == p.Number {
			devices = append(devices, mac)
		}
	}
	return devices, err
}

// Connected returns the devices that are connected to a switch, or to one port of
// it, by number, in order.
func (p *Ports) Connected(r state.Reader, sw ethernet.MAC, port int) (found []ethernet.MAC, err error) {
	all, err := cablesOf(r, sw)
	for mac, number := range all {
		if port == 0 || number == port {
			found = append(found, mac)
		}
	}
	slices.Sort(found)
	return found, err
}

// Where tells which port a device is connected to, in words; "" if that is not
// known.
func (p *Ports) Where(r state.Reader, mac ethernet.MAC) (string, error) {
	l, err := linkOf(r, mac)
	if err != nil || l.IsZero() {
		return "", err
	}
	return p.words(r, l.Port)
}

// plug writes where a device is connected: the one place that does. What was told of its
// power stays.
func plug(tx state.Tx, mac ethernet.MAC, to Link) error {
	from, err := linkOf(tx, mac)
	if err != nil || from.IsZero() && to.IsZero() {
		return err
	}
	to.Told = from.Told
	if !from.IsZero() {
		all, err := cablesOf(tx, from.Switch)
		if err != nil {
			return err
		}
		if delete(all, mac); len(all) == 0 {
			err = cables.Delete(tx, string(from.Switch))
		} else {
			err = cables.Put(tx, string(from.Switch), all)
		}
		if err != nil {
			return err
		}
	}
	if to.IsZero() {
		return putLink(tx, mac, to)
	}
	all, err := cablesOf(tx, to.Switch)
	if err != nil {
		return err
	}
	all[mac] = to.Number
	return errors.Join(links.Put(tx, string(mac), to), cables.Put(tx, string(to.Switch), all))
}

// putLink writes the row of a link, if that says anything.
func putLink(tx state.Tx, mac ethernet.MAC, l Link) error {
	if l == (Link{}) {
		return links.Delete(tx, string(mac))
	}
	return links.Put(tx, string(mac), l)
}

// control returns the port that powers a node if the server may work it; the
// zero Port if not.
func control(r state.Reader, node ethernet.MAC) (Port, error) {
	l, err := linkOf(r, node)
	if err != nil {
		return Port{}, err
	}
	return l.control(r, node)
}

// control is that of a node with this link. What administrators told of its power goes first.
// A port that several devices share leads to something else, which powers them.
func (l Link) control(r state.Reader, node ethernet.MAC) (Port, error) {
	switch {
	case l.Told:
		return controlFed(r, node)
	case l.IsZero():
		return Port{}, nil
	}
	sw, _, err := switches.Find(r, string(l.Switch))
	if err != nil || !sw.PoE {
		return Port{}, err
	}
	if sharing, err := connectedTo(r, l.Port); err != nil || len(sharing) != 1 {
		return Port{}, err
	}
	return l.Port, nil
}

// Controls reports whether the server may work the port that powers a node.
func (p *Ports) Controls(r state.Reader, node ethernet.MAC) (bool, error) {
	port, err := control(r, node)
	return !port.IsZero(), err
}

// perSwitch is for how many devices it takes as long to read their links one by
// one as the cables of a switch.
const perSwitch = 15

// FirstControlled returns the first n of the devices that Controls says, in their order.
// It reads one by one until it is sooner to read all ports at once.
func (p *Ports) FirstControlled(r state.Reader, n int, devices iter.Seq[ethernet.MAC]) (found []ethernet.MAC, err error) {
	var all map[ethernet.MAC]Port
	asked, few := 0, perSwitch // how many are read one by one
	for mac := range devices {
		if len(found) == n {
			break
		}
		if asked++; asked == perSwitch+1 {
			if few, err = cabledSwitches(r); err != nil {
				return nil, err
			}
			few *= perSwitch
		}
		can := false
		switch {
		case asked <= few:
			can, err = p.Controls(r, mac)
		case all == nil:
			if all, err = controlled(r); err == nil && len(all) == 0 {
				return found, nil
			}
			fallthrough
		default:
			_, can = all[mac]
		}
		if err != nil {
			return nil, err
		}
		if can {
			found = append(found, mac)
		}
	}
	return found, nil
}

// cabledSwitches counts the switches that something is connected to.
func cabledSwitches(r state.Reader) (n int, err error) {
	for _, err := range cables.Keys(r, "", "") {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// controlled returns all devices with a port for control, and the port.
func controlled(r state.Reader) (map[ethernet.MAC]Port, error) {
	found := map[ethernet.MAC]Port{}
	for e, err := range switches.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		if !e.Value.PoE {
			continue
		}
		sw := ethernet.MAC(e.Key)
		all, err := cablesOf(r, sw)
		if err != nil {
			return nil, err
		}
		devices := map[int]int{} // on each port
		for _, number := range all {
			devices[number]++
		}
		for mac, number := range all {
			if devices[number] == 1 {
				found[mac] = Port{Switch: sw, Number: number}
			}
		}
	}
	for e, err := range supplies.Scan(r, "", "") {
		if err != nil {
			return nil, err
		}
		mac := ethernet.MAC(e.Key)
		port, err := control(r, mac)
		if err != nil {
			return nil, err
		}
		if delete(found, mac); !port.IsZero() {
			found[mac] = port
		}
	}
	return found, nil
}
