package snmp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"walt/fault"
)

// Columns that tell which port an outlet is. RFC 3621 has none: those of the
// second kind are Cisco's, and end in the ENTITY-MIB (RFC 6933).
const (
	cpeExtPsePortEntPhyIndex  = ".1.3.6.1.4.1.9.9.402.1.2.1.11" // physical entity, by outlet
	entPhysicalName           = ".1.3.6.1.2.1.47.1.1.1.1.7"     // by physical entity
	entAliasMappingIdentifier = ".1.3.6.1.2.1.47.1.3.2.1.2"     // OID of an interface, by physical and logical entity
)

// outlet is a row of pethPsePortTable. A group is a box of a stack or a module;
// a switch that has neither has group 1 alone.
type outlet struct{ group, index int }

func (o outlet) String() string { return fmt.Sprintf("%d.%d", o.group, o.index) }

func (o outlet) compare(p outlet) int {
	return cmp.Or(cmp.Compare(o.group, p.group), cmp.Compare(o.index, p.index))
}

// outlets are those of a switch, and which ports they are.
type outlets struct {
	all []outlet // in order
	of  map[int]outlet
	// numbers are those of the ports that the switch is known to have.
	numbers map[int]bool
}

// single reports whether all outlets are in one group.
func (o *outlets) single() bool {
	return len(o.all) > 0 && o.all[0].group == o.all[len(o.all)-1].group
}

// outlet returns the outlet of a port: the one that a user told, else the one that
// the tables of the switch agree on. Of a switch that shows no table of outlets
// the port's number is taken for the outlet's in group 1.
func (s *Session) outlet(ctx context.Context, port int) (outlet, error) {
	if at, told := s.sw.PoEPorts.find(port); told {
		return at, nil
	}
	known, err := s.readOutlets(ctx)
	if err != nil {
		return outlet{}, err
	}
	at, found := known.of[port]
	switch {
	case found && s.sw.PoEPorts.uses(at): // it was told to be another port's
	case found:
		return at, nil
	case len(known.all) == 0:
		return outlet{1, port}, nil
	case known.single():
		at := outlet{known.all[0].group, port}
		_, there := slices.BinarySearchFunc(known.all, at, outlet.compare)
		if there && !known.numbers[port] && !s.sw.PoEPorts.uses(at) {
			return at, nil
		}
	case len(known.of) == 0:
		return outlet{}, Refusal{fault.Failedf("%s does not tell which of its PoE outlets (%s) %s is; its setting poe.ports may (see: help show power)",
			s, ranges(known.all), s.words(port))}
	}
	return outlet{}, s.noPoE(port)
}

func (s *Session) noPoE(port int) error {
	return Refusal{fault.Failedf("%s of %s has no PoE", s.words(port), s).
		WithHint("check the port's number; the switch, or this user or community, may show no PoE ports at all")}
}

// words are a port's number and its name, if that was read.
func (s *Session) words(port int) string {
	s.learned.Lock()
	defer s.learned.Unlock()
	if s.ports != nil {
		for _, i := range s.ports.all {
			if n, ok := s.ports.port(i); ok && n == port {
				return PortName{port, shown(s.ports.name[i]), shown(s.ports.descr[i])}.String()
			}
		}
	}
	return PortName{Port: port}.String()
}

// String is a port's number and, where that says more, its name.
func (n PortName) String() string {
	if text := n.Text(); text != "" {
		return fmt.Sprintf("port %d (%s)", n.Port, text)
	}
	return fmt.Sprintf("port %d", n.Port)
}

// Text is what the port is called, "" when that says no more than its number.
func (n PortName) Text() string {
	if text := cmp.Or(n.Name, n.Description); text != strconv.Itoa(n.Port) {
		return text
	}
	return ""
}

// readOutlets reads once in a session which outlets there are, and finds which
// ports they are: as Cisco's tables say, else by the names of the ports, by their
// numbers, by the indexes of their interfaces, or by their order. A guess counts
// only if it finds exactly one port for each outlet: the power of a wrong port
// would be somebody else's.
func (s *Session) readOutlets(ctx context.Context) (*outlets, error) {
	done, err := s.learn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	s.learned.Lock()
	known := s.outlets
	s.learned.Unlock()
	if known != nil {
		return known, nil
	}
	rows, err := s.walk(ctx, adminEnable)
	if err != nil {
		return nil, err
	}
	known = &outlets{all: slices.SortedFunc(maps.Keys(byOutlet(rows)), outlet.compare), numbers: map[int]bool{}}
	if len(known.all) > 0 {
		t, err := s.readInterfaces(ctx)
		if err != nil {
			return nil, err
		}
		for _, i := range t.all {
			if n, ok := t.port(i); ok {
				known.numbers[n] = true
			}
		}
		if known.of, err = s.toldByEntities(ctx, t); err != nil {
			return nil, err
		}
		for _, guess := range []func(*interfaces, []outlet) map[int]outlet{byName, byNumber, byInterface, byOrder} {
			if len(known.of) > 0 {
				break
			}
			known.of = guess(t, known.all)
		}
		if len(known.of) == 0 && known.single() { // as if the switch had not told more than them
			known.of, known.numbers = byNumber(&interfaces{}, known.all), map[int]bool{}
		}
	}
	s.learned.Lock()
	defer s.learned.Unlock()
	s.outlets = known
	return known, nil
}

// byOutlet are the numbers of a column of the table of outlets.
func byOutlet(rows []row) map[outlet]int {
	found := map[outlet]int{}
	for _, r := range rows {
		if n, ok := r.value.(int); ok && len(r.index) == 2 {
			found[outlet{r.index[0], r.index[1]}] = n
		}
	}
	return found
}

// toldByEntities reads which physical entity an outlet is, and which interface
// that is.
func (s *Session) toldByEntities(ctx context.Context, t *interfaces) (map[int]outlet, error) {
	rows, err := s.optional(ctx, cpeExtPsePortEntPhyIndex)
	entities := byOutlet(rows)
	if err != nil || len(entities) == 0 {
		return nil, err
	}
	aliases, err := s.optional(ctx, entAliasMappingIdentifier)
	if err != nil {
		return nil, err
	}
	named, err := s.optional(ctx, entPhysicalName)
	if err != nil {
		return nil, err
	}
	interfaceOf, names := map[int]int{}, texts(named)
	for _, r := range aliases {
		oid, _ := r.value.(string)
		if i, err := strconv.Atoi(oid[strings.LastIndexByte(oid, '.')+1:]); err == nil && len(r.index) == 2 {
			interfaceOf[r.index[0]] = i
		}
	}
	found := map[int]outlet{}
	for at, entity := range entities {
		i, ok := interfaceOf[entity]
		if !ok {
			i, ok = t.called(names[entity])
		}
		if port, numbered := t.port(i); ok && numbered {
			if _, twice := found[port]; twice {
				return nil, nil
			}
			found[port] = at
		}
	}
	return found, nil
}

// ranges lists outlets for people, as in "1.1-1.24, 2.1-2.24".
func ranges(all []outlet) string {
	var parts []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == (outlet{all[j].group, all[j].index + 1}) {
			j++
		}
		if parts = append(parts, all[i].String()); j > i {
			parts[len(parts)-1] += "-" + all[j].String()
		}
		i = j + 1
	}
	if len(parts) > 8 {
		parts = append(parts[:8], "...")
	}
	return strings.Join(parts, ", ")
}
