package snmp

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Columns of the tables that tell which ports there are.
const (
	ifDescr              = ".1.3.6.1.2.1.2.2.1.2"      // IF-MIB (RFC 2863), by interface
	ifType               = ".1.3.6.1.2.1.2.2.1.3"      // likewise
	ifName               = ".1.3.6.1.2.1.31.1.1.1.1"   // likewise
	dot1dBasePortIfIndex = ".1.3.6.1.2.1.17.1.4.1.2"   // BRIDGE-MIB (RFC 4188): interface, by bridge port
	lldpLocPortID        = ".1.0.8802.1.1.2.1.3.7.1.3" // LLDP-MIB (IEEE 802.1AB), by local port number
	lldpLocPortDesc      = ".1.0.8802.1.1.2.1.3.7.1.4" // likewise
)

// ethernets are the values of ifType for ports that take a cable of Ethernet:
// the one that is to be used, and those of old agents.
var ethernets = []int{6, 62, 69, 117}

// PortName is what a switch calls one of its ports.
type PortName struct {
	Port        int    `json:"port"`           // as the switch's bridge numbers its ports
	Name        string `json:"name,omitempty"` // short, as in "Gi1/0/3" (ifName)
	Description string `json:"desc,omitempty"` // as in "GigabitEthernet1/0/3" (ifDescr)
}

// interfaces are the ports of a switch, by their interface indexes.
type interfaces struct {
	all     []int // in order
	name    map[int]string
	descr   map[int]string
	bridge  map[int]int  // the port of the bridge that an interface is
	bridged map[int]bool // which ports the bridge has
}

// learn waits until nobody else reads what is read once in a session: who comes
// meanwhile finds it read.
func (s *Session) learn(ctx context.Context) (done func(), err error) {
	select {
	case s.learning <- struct{}{}:
		return func() { <-s.learning }, nil
	case <-ctx.Done():
		return nil, s.ended(ctx)
	}
}

// interfaces reads them once in a session. Tables that the switch does not show
// count as empty.
func (s *Session) interfaces(ctx context.Context) (*interfaces, error) {
	done, err := s.learn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.readInterfaces(ctx)
}

// readInterfaces is interfaces for who learns.
func (s *Session) readInterfaces(ctx context.Context) (*interfaces, error) {
	s.learned.Lock()
	known := s.ports
	s.learned.Unlock()
	if known != nil {
		return known, nil
	}
	columns := []string{ifType, ifName, ifDescr, dot1dBasePortIfIndex}
	tables := make([][]row, len(columns))
	for i, column := range columns {
		var err error
		if tables[i], err = s.optional(ctx, column); err != nil {
			return nil, err
		}
	}
	other := map[int]bool{} // interfaces that take no cable
	for _, r := range tables[0] {
		if kind, ok := r.value.(int); ok && len(r.index) == 1 && !slices.Contains(ethernets, kind) {
			other[r.index[0]] = true
		}
	}
	t := &interfaces{name: texts(tables[1]), descr: texts(tables[2]), bridge: map[int]int{}, bridged: map[int]bool{}}
	there := map[int]bool{}
	for _, named := range []map[int]string{t.name, t.descr} {
		for i := range named {
			there[i] = true
		}
	}
	for _, r := range tables[3] {
		if i, ok := r.value.(int); ok && i > 0 && len(r.index) == 1 {
			t.bridge[i], t.bridged[r.index[0]], there[i] = r.index[0], true, true
		}
	}
	for i := range there {
		if !other[i] {
			t.all = append(t.all, i)
		}
	}
	slices.Sort(t.all)
	s.learned.Lock()
	defer s.learned.Unlock()
	s.ports = t
	return t, nil
}

// texts are the values of a column that are texts, by an index of one number.
func texts(rows []row) map[int]string {
	found := map[int]string{}
	for _, r := range rows {
		text, ok := r.value.([]byte)
		if clean := strings.TrimRight(string(text), "\x00 "); ok && clean != "" && len(r.index) == 1 {
			found[r.index[0]] = clean
		}
	}
	return found
}

// port is the number of the port that an interface is: that of the bridge, and
// of one that is in no bridge its own index, unless that is another port's number.
func (t *interfaces) port(index int) (number int, ok bool) {
	if number, ok = t.bridge[index]; ok {
		return number, true
	}
	return index, !t.bridged[index]
}

// called returns the interface that has a name, if only one has.
func (t *interfaces) called(text string) (index int, ok bool) {
	if text == "" {
		return 0, false
	}
	for _, named := range []map[int]string{t.name, t.descr} {
		found := 0
		for i, name := range named {
			if name == text {
				index = i
				found++
			}
		}
		if found == 1 {
			return index, true
		}
	}
	return 0, false
}

// Names returns what the switch calls its ports, in the order of their numbers;
// none if it does not tell.
func (s *Session) Names(ctx context.Context) ([]PortName, error) {
	t, err := s.interfaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []PortName
	for _, i := range t.all {
		n := PortName{Name: shown(t.name[i]), Description: shown(t.descr[i])}
		var ok bool
		if n.Port, ok = t.port(i); ok && (n.Name != "" || n.Description != "") {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b PortName) int { return cmp.Compare(a.Port, b.Port) })
	return all, nil
}

// shown is a text if it can be shown to people as it is and is not long, else "".
func shown(text string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if len(text) > 80 || strings.ContainsFunc(text, odd) {
		return ""
	}
	return text
}

// localPorts returns what translates LLDP's local port numbers into those of
// the bridge. The two should be the same; where they are not, the port's LLDP
// identity or description is the name of an interface, or the former its index.
func (s *Session) localPorts(ctx context.Context) (portOf func(local int) int, err error) {
	t, err := s.interfaces(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := s.optional(ctx, lldpLocPortID)
	if err != nil {
		return nil, err
	}
	descriptions, err := s.optional(ctx, lldpLocPortDesc)
	if err != nil {
		return nil, err
	}
	id, description := texts(ids), texts(descriptions)
	return func(local int) int {
		for _, text := range []string{id[local], description[local]} {
			if index, ok := t.called(text); ok {
				if port, ok := t.port(index); ok {
					return port
				}
			}
		}
		number, err := strconv.Atoi(id[local])
		if err != nil || number <= 0 {
			if number = local; t.bridged[local] {
				return local
			}
		}
		if port, ok := t.bridge[number]; ok {
			return port
		}
		return number
	}, nil
}
