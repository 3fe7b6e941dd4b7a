package snmp

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// Each of these guesses which ports the outlets are; the answer is empty unless
// there is exactly one port for each.

// whole returns what was found if it is one port for each outlet.
func whole(found map[int]outlet, all []outlet) map[int]outlet {
	used := map[outlet]bool{}
	for _, at := range found {
		used[at] = true
	}
	if len(used) != len(all) || len(found) != len(all) {
		return nil
	}
	return found
}

// byName takes the numbers in the names of the ports: "Gi2/0/3" is outlet 2.3,
// "ge-1/0/2", counted from 0, too, "B3" as well, and "Port 3" is the third of the
// only group.
func byName(t *interfaces, all []outlet) map[int]outlet {
	there, groups := map[outlet]bool{}, map[int]bool{}
	for _, at := range all {
		there[at], groups[at.group] = true, true
	}
	readings := []func(label) outlet{
		func(l label) outlet { return l.outlet(0) },
		func(l label) outlet { return l.outlet(1) },
		func(l label) outlet {
			if len(groups) > 1 || len(l.numbers) == 0 {
				return outlet{}
			}
			return outlet{all[0].group, l.numbers[len(l.numbers)-1]}
		},
	}
	for _, names := range []map[int]string{t.name, t.descr} {
		for _, reading := range readings {
			kinds := map[string]map[int]outlet{} // of ports, by what their names begin with
			for _, i := range t.all {
				l := labelOf(names[i])
				port, ok := t.port(i)
				if at := reading(l); ok && there[at] {
					if kinds[l.kind] == nil {
						kinds[l.kind] = map[int]outlet{}
					}
					kinds[l.kind][port] = at
				}
			}
			if found := matching(kinds, all); found != nil {
				return found
			}
		}
	}
	return nil
}

// matching returns the ports of those kinds that are one port for each outlet
// together, if there is only one choice of kinds: the ports of a module for fast
// uplinks are counted as others are, and have no PoE.
func matching(kinds map[string]map[int]outlet, all []outlet) (found map[int]outlet) {
	names := slices.Sorted(maps.Keys(kinds))
	if len(names) > 8 {
		return nil
	}
	for choice := 1; choice < 1<<len(names); choice++ {
		ports := map[int]outlet{}
		for i, name := range names {
			if choice>>i&1 == 1 {
				maps.Copy(ports, kinds[name])
			}
		}
		if whole(ports, all) == nil {
			continue
		}
		if found != nil {
			return nil
		}
		found = ports
	}
	return found
}

// label is the name of a port in parts.
type label struct {
	kind    string // what it begins with, up to its numbers
	numbers []int
}

var (
	// speed is what may stand before the kind, as in "10GigabitEthernet1/0/1".
	speed  = regexp.MustCompile(`^[0-9.]+[A-Za-z]+`)
	number = regexp.MustCompile(`[0-9]+`)
)

func labelOf(name string) label {
	var l label
	l.kind = speed.FindString(name)
	rest := name[len(l.kind):]
	if at := number.FindStringIndex(rest); at != nil {
		l.kind += rest[:at[0]]
		rest = rest[at[0]:]
	}
	for _, text := range number.FindAllString(rest, -1) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return label{kind: l.kind}
		}
		l.numbers = append(l.numbers, n)
	}
	return l
}

// outlet is the one that the first and the last number of the label, or its letter
// and its number, are, when they count from 1, or from what is less by more.
func (l label) outlet(more int) outlet {
	switch {
	case len(l.numbers) > 1:
		return outlet{l.numbers[0] + more, l.numbers[len(l.numbers)-1] + more}
	case len(l.numbers) == 1 && len(l.kind) == 1 && more == 0 && l.kind >= "A" && l.kind <= "Z":
		return outlet{int(l.kind[0]-'A') + 1, l.numbers[0]}
	}
	return outlet{}
}

// byNumber takes an outlet's index for the number of its port.
func byNumber(t *interfaces, all []outlet) map[int]outlet {
	found := map[int]outlet{}
	for _, at := range all {
		if len(t.bridged) > 0 && !t.bridged[at.index] {
			return nil
		}
		found[at.index] = at
	}
	return whole(found, all)
}

// byInterface takes an outlet's index for that of its port's interface.
func byInterface(t *interfaces, all []outlet) map[int]outlet {
	found := map[int]outlet{}
	for _, at := range all {
		port, ok := t.port(at.index)
		if _, there := slices.BinarySearch(t.all, at.index); !there || !ok {
			return nil
		}
		found[port] = at
	}
	return whole(found, all)
}

// byOrder takes the outlets and the ports for the same, in their order, when
// there are as many of both.
func byOrder(t *interfaces, all []outlet) map[int]outlet {
	var ports []int
	for _, i := range t.all {
		port, ok := t.port(i)
		if ok && (len(t.bridged) == 0 || t.bridged[port]) {
			ports = append(ports, port)
		}
	}
	if len(ports) != len(all) {
		return nil
	}
	slices.Sort(ports)
	found := map[int]outlet{}
	for i, port := range ports {
		found[port] = all[i]
	}
	return whole(found, all)
}
