package power

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/power/snmp"
	"walt/state"
)

// portNames is what each switch calls its ports, by its MAC, as it last told.
var portNames = state.NewTable[[]snmp.PortName]("port-name")

// mostNames is of how many ports of a switch the names are kept.
const mostNames = 2048

// keepNames writes within tx what a switch told of the names of its ports.
func keepNames(tx state.Tx, sw ethernet.MAC, told []snmp.PortName) error {
	told = told[:min(mostNames, len(told))]
	known, _, err := portNames.Find(tx, string(sw))
	switch {
	case err != nil || slices.Equal(known, told):
		return err
	case len(told) == 0:
		return portNames.Delete(tx, string(sw))
	}
	return portNames.Put(tx, string(sw), told)
}

// PortNames returns what a switch calls its ports, by their numbers, as far as
// that is known and says more than the number.
func (p *Ports) PortNames(r state.Reader, sw ethernet.MAC) (map[int]string, error) {
	known, _, err := portNames.Find(r, string(sw))
	if err != nil {
		return nil, err
	}
	named := map[int]string{}
	for _, n := range known {
		if text := n.Text(); text != "" {
			named[n.Port] = text
		}
	}
	return named, nil
}

// words are a port as people call it.
func (p *Ports) words(r state.Reader, port Port) (string, error) {
	if port.fed() {
		s, err := p.SupplyOf(r, port.Switch)
		return s.String(), err
	}
	sw, err := p.name(r, port.Switch)
	if err != nil {
		return "", err
	}
	named, err := p.PortNames(r, port.Switch)
	return fmt.Sprintf("%s of %s", snmp.PortName{Port: port.Number, Name: named[port.Number]}, sw), err
}

// LearnNames asks a switch what it calls its ports. The error is a fault when it
// cannot be asked, or does not tell; what it told before is kept then.
func (p *Ports) LearnNames(ctx context.Context, mac ethernet.MAC) error {
	sw, err := state.Read(ctx, p.Store, func(r state.Reader) (target, error) { return p.target(r, mac) })
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	if !sw.Explore && !sw.PoE {
		return fault.Failedf("it may not be asked (lldp.explore)")
	}
	limited, cancel := context.WithTimeout(ctx, exploreLimit)
	defer cancel()
	var told []snmp.PortName
	err = p.sessions.use(limited, sw.Switch.Switch, func(agent Agent) (err error) {
		told, err = agent.Names(limited)
		return err
	})
	if p.contacts.note(mac, err); err != nil {
		return err
	}
	_, err = p.Store.Update(ctx, func(tx state.Tx) error { return keepNames(tx, mac, told) })
	if err == nil && len(told) == 0 {
		err = fault.Failedf("it tells no names of its ports")
	}
	return err
}

// PortCalled returns the number of the port that a switch calls so: exactly, or
// but for upper and lower case. A fault tells of near names, or of the ports that
// have the same one.
func (p *Ports) PortCalled(r state.Reader, sw ethernet.MAC, text string) (int, error) {
	known, _, err := portNames.Find(r, string(sw))
	if err != nil {
		return 0, err
	}
	name, err := p.name(r, sw)
	if err != nil {
		return 0, err
	}
	for _, is := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, of := range []func(snmp.PortName) string{func(n snmp.PortName) string { return n.Name }, func(n snmp.PortName) string { return n.Description }} {
			var ports []string
			number := 0
			for _, n := range known {
				if is(of(n), text) {
					number = n.Port
					ports = append(ports, fmt.Sprint(n.Port))
				}
			}
			switch {
			case len(ports) == 1:
				return number, nil
			case len(ports) > 1:
				return 0, fault.Failedf("several ports of %s are called %q: %s; nothing changed", name, text, some(ports)).WithHint("give the number")
			}
		}
	}
	var names []string
	for _, n := range known {
		for _, text := range []string{n.Name, n.Description} {
			if text != "" && !slices.Contains(names, text) {
				names = append(names, text)
			}
		}
	}
	f := fault.Failedf("no port of %s is called %.80q; nothing changed", name, text)
	if near := nearest(text, names); len(near) > 0 {
		return 0, f.WithHint("did you mean %s?", strings.Join(near, " or "))
	}
	return 0, f.WithHint("its ports are called %s; a number is taken, too", some(names))
}

// nearest is fault.Nearest but for upper and lower case.
func nearest(text string, names []string) (near []string) {
	written := map[string]string{}
	var lower []string
	for _, n := range names {
		l := strings.ToLower(n)
		written[l] = n
		lower = append(lower, l)
	}
	for _, l := range fault.Nearest(strings.ToLower(text), lower) {
		near = append(near, written[l])
	}
	return near
}

// some lists names, or the first of them when they are many.
func some(names []string) string {
	if len(names) > 6 {
		names = append(slices.Clone(names[:5]), "...")
	}
	return strings.Join(names, ", ")
}
