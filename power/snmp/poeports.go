package snmp

import (
	"regexp"
	"strconv"
	"strings"

	"walt/fault"
)

// PoEPorts is what a user told of which PoE outlets the ports of a switch are, as
// ParsePoEPorts takes it: "29-52:2.1" for the ports 29 to 52 being the outlets 1
// to 24 of group 2. It is empty when nothing was told.
type PoEPorts string

// entry is an entry of PoEPorts.
var entry = regexp.MustCompile(`^([0-9]{1,6})(?:-([0-9]{1,6}))?:([0-9]{1,6})\.([0-9]{1,6})$`)

// ParsePoEPorts parses entries FIRST:GROUP.INDEX or FIRST-LAST:GROUP.INDEX,
// separated by commas; a fault of kind Usage shows what they look like.
func ParsePoEPorts(s string) (PoEPorts, error) {
	told := PoEPorts(s)
	used, at := map[int]bool{}, map[outlet]bool{}
	for _, text := range strings.Split(s, ",") {
		first, last, to, ok := parseEntry(text)
		if !ok || last-first > 1<<12 {
			return "", fault.Usagef("poe.ports cannot have %.40q", text).
				WithHint("it looks like 29:2.1 (port 29 is outlet 1 of group 2) or 1-24:1.1,29-52:2.1; auto finds them by itself")
		}
		for port := first; port <= last; port++ {
			here := outlet{to.group, to.index + port - first}
			if used[port] || at[here] {
				return "", fault.Usagef("poe.ports has port %d or outlet %s twice", port, here)
			}
			used[port], at[here] = true, true
		}
	}
	return told, nil
}

func parseEntry(text string) (first, last int, to outlet, ok bool) {
	m := entry.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, outlet{}, false
	}
	var n [4]int
	for i, digits := range m[1:] {
		n[i], _ = strconv.Atoi(digits) // at most six digits, or none
	}
	if m[2] == "" {
		n[1] = n[0]
	}
	return n[0], n[1], outlet{n[2], n[3]}, n[0] > 0 && n[0] <= n[1]
}

// find returns the outlet that a port was told to be.
func (p PoEPorts) find(port int) (at outlet, told bool) {
	for text := range strings.SplitSeq(string(p), ",") {
		first, last, to, ok := parseEntry(text)
		if ok && first <= port && port <= last {
			return outlet{to.group, to.index + port - first}, true
		}
	}
	return outlet{}, false
}

// Differ reports whether a port is told to be another outlet by the one than by the
// other.
func (p PoEPorts) Differ(q PoEPorts, port int) bool {
	was, told := p.find(port)
	is, tells := q.find(port)
	return was != is || told != tells
}

// uses reports whether some port was told to be an outlet.
func (p PoEPorts) uses(at outlet) bool {
	for text := range strings.SplitSeq(string(p), ",") {
		first, last, to, ok := parseEntry(text)
		if ok && to.group == at.group && to.index <= at.index && at.index <= to.index+last-first {
			return true
		}
	}
	return false
}
