package snmp

import (
	"cmp"
	"context"
	"slices"
)

// Columns of the tables that tell what hangs on a port.
const (
	lldpRemChassisType = ".1.0.8802.1.1.2.1.4.1.1.4"   // by time, local port number and neighbour
	lldpRemChassisID   = ".1.0.8802.1.1.2.1.4.1.1.5"   // likewise
	lldpRemPortType    = ".1.0.8802.1.1.2.1.4.1.1.6"   // likewise
	lldpRemPortID      = ".1.0.8802.1.1.2.1.4.1.1.7"   // likewise
	dot1dTpFdbPort     = ".1.3.6.1.2.1.17.4.3.1.2"     // bridge port, by MAC
	dot1dTpFdbStatus   = ".1.3.6.1.2.1.17.4.3.1.3"     // likewise
	dot1qTpFdbPort     = ".1.3.6.1.2.1.17.7.1.2.2.1.2" // Q-BRIDGE-MIB (RFC 4363): bridge port, by VLANs and MAC
	dot1qTpFdbStatus   = ".1.3.6.1.2.1.17.7.1.2.2.1.3" // likewise
)

// Values in these tables.
const (
	chassisIsMAC = 4 // LldpChassisIdSubtype
	portIsMAC    = 3 // LldpPortIdSubtype
	statusSelf   = 4 // of a forwarding table: the switch's own MAC
)

// manyBehind is how many MACs make a port one to another switch. A node may well
// have a few: those of its containers and virtual machines.
const manyBehind = 5

// Source is how a switch knows a neighbour.
type Source string

const (
	LLDP   Source = "LLDP"   // the neighbour said so: it is at the other end of the cable
	Bridge Source = "bridge" // frames of it came in on the port, maybe through other switches
)

// Neighbour is a device behind a port.
type Neighbour struct {
	Port   int    // as the switch's bridge numbers its ports
	MAC    string // as in "b8:27:eb:00:00:02"
	Source Source
	Behind int // MACs that are known behind this port, this one included
}

// Uplink reports whether there is so much behind the port that another switch
// must be there. A small switch may have fewer: of several ports at which the same
// MAC is seen, the one with the least Behind is the nearest.
func (n Neighbour) Uplink() bool { return n.Behind >= manyBehind }

// Neighbours returns what the switch knows of the devices behind its ports,
// ordered by port and MAC: those that introduce themselves with LLDP, and all
// others of which its bridge has lately seen frames. A table that it does not
// have counts as empty.
func (s *Session) Neighbours(ctx context.Context) ([]Neighbour, error) {
	type place struct {
		port int
		mac  string
	}
	found := map[place]Source{}
	for _, fdb := range []struct{ port, status string }{{dot1dTpFdbPort, dot1dTpFdbStatus}, {dot1qTpFdbPort, dot1qTpFdbStatus}} {
		if err := s.bridged(ctx, fdb.port, fdb.status, func(port int, mac string) { found[place{port, mac}] = Bridge }); err != nil {
			return nil, err
		}
	}
	if err := s.introduced(ctx, func(port int, mac string) { found[place{port, mac}] = LLDP }); err != nil {
		return nil, err
	}
	behind := map[int]int{}
	for p := range found {
		behind[p.port]++
	}
	var neighbours []Neighbour
	for p, source := range found {
		neighbours = append(neighbours, Neighbour{p.port, p.mac, source, behind[p.port]})
	}
	slices.SortFunc(neighbours, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.MAC, b.MAC))
	})
	return neighbours, nil
}

// bridged reads a forwarding table, whose index ends in a MAC.
func (s *Session) bridged(ctx context.Context, portColumn, statusColumn string, found func(port int, mac string)) error {
	ports, err := s.walk(ctx, portColumn)
	if err != nil || len(ports) == 0 {
		return err
	}
	statuses, err := s.walk(ctx, statusColumn)
	if err != nil {
		return err
	}
	own := map[string]bool{}
	for _, r := range statuses {
		if r.value == statusSelf {
			own[macAt(r.index)] = true
		}
	}
	for _, r := range ports {
		port, _ := r.value.(int)
		if mac := macAt(r.index); port > 0 && mac != "" && !own[mac] { // port 0: not known
			found(port, mac)
		}
	}
	return nil
}

// introduced reads the table of LLDP neighbours. Some of them do not name
// themselves or their port with a MAC; some do with the text of one.
func (s *Session) introduced(ctx context.Context, found func(port int, mac string)) error {
	macs := map[int][]string{} // by local port number
	for _, id := range []struct {
		types, values string
		isMAC         int
	}{{lldpRemChassisType, lldpRemChassisID, chassisIsMAC}, {lldpRemPortType, lldpRemPortID, portIsMAC}} {
		values, err := s.walk(ctx, id.values)
		if err != nil {
			return err
		}
		if len(values) == 0 {
			continue
		}
		types, err := s.walk(ctx, id.types)
		if err != nil {
			return err
		}
		is := map[string]bool{}
		for _, r := range types {
			is[key(r.index)] = r.value == id.isMAC
		}
		for _, r := range values {
			value, _ := r.value.([]byte)
			if mac := macIn(value, is[key(r.index)]); mac != "" && len(r.index) == 3 && !slices.Contains(macs[r.index[1]], mac) {
				macs[r.index[1]] = append(macs[r.index[1]], mac)
			}
		}
	}
	if len(macs) == 0 {
		return nil
	}
	portOf, err := s.localPorts(ctx)
	if err != nil {
		return err
	}
	for local, macs := range macs {
		port := portOf(local)
		for _, mac := range macs {
			if port > 0 {
				found(port, mac)
			}
		}
	}
	return nil
}
