package power

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/power/driver"
	"walt/state"
)

// Strip is nodes that are to be switched together, since they share outlets with each other
// or with others.
type Strip struct {
	Nodes   []ethernet.MAC // that are to be, in the order in which they were named
	Outlets driver.Supply  // all that feed these
	Others  []Sharer       // whom these feed, too
}

// Sharer is a node that hangs on an outlet of others.
type Sharer struct {
	Node    ethernet.MAC
	With    ethernet.MAC  // the first of Strip.Nodes that has one of these
	Outlets driver.Supply // that it shares with them
	Keeps   driver.Supply // its others, which give it power meanwhile
}

// Strips returns those of the nodes that share outlets with any others, each in one strip.
func (p *Ports) Strips(r state.Reader, nodes []ethernet.MAC) (found []Strip, err error) {
	if any, err := anyFed(r); err != nil || !any {
		return nil, err
	}
	var all []*Strip
	at := map[driver.Outlet]*Strip{}
	first := map[driver.Outlet]ethernet.MAC{}
	place := map[ethernet.MAC]int{}
	for i, node := range nodes {
		s, err := p.SupplyOf(r, node)
		if err != nil {
			return nil, err
		}
		if others, err := sharing(r, node, s.Outlets); err != nil {
			return nil, err
		} else if len(others) == 0 {
			continue
		}
		mine := &Strip{Nodes: []ethernet.MAC{node}, Outlets: slices.Clone(s.Outlets)}
		place[node] = i
		for _, o := range s.Outlets {
			if there := at[o]; there != nil && there != mine {
				mine.join(there)
			} else if there == nil {
				first[o] = node
			}
		}
		for _, o := range mine.Outlets {
			at[o] = mine
		}
		all = append(all, mine)
	}
	for _, s := range all {
		if len(s.Nodes) == 0 { // it became part of another
			continue
		}
		slices.SortFunc(s.Nodes, func(a, b ethernet.MAC) int { return cmp.Compare(place[a], place[b]) })
		if s.Others, err = p.hangingOn(r, s.Outlets, s.Nodes, first); err != nil {
			return nil, err
		}
		found = append(found, *s)
	}
	return found, nil
}

// join makes another strip part of this one.
func (s *Strip) join(other *Strip) {
	s.Nodes = append(s.Nodes, other.Nodes...)
	for _, o := range other.Outlets {
		if !slices.Contains(s.Outlets, o) {
			s.Outlets = append(s.Outlets, o)
		}
	}
	other.Nodes = nil
}

// hangingOn returns whom outlets feed besides the nodes, of which has tells the first at each.
func (p *Ports) hangingOn(r state.Reader, outlets driver.Supply, nodes []ethernet.MAC, has map[driver.Outlet]ethernet.MAC) (others []Sharer, err error) {
	for _, o := range outlets {
		all, _, err := feeds.Find(r, o.String())
		if err != nil {
			return nil, err
		}
		for _, mac := range all {
			if slices.Contains(nodes, mac) || slices.ContainsFunc(others, func(s Sharer) bool { return s.Node == mac }) {
				continue
			}
			s, err := p.SupplyOf(r, mac)
			if err != nil {
				return nil, err
			}
			other := Sharer{Node: mac, With: has[o]}
			for _, o := range s.Outlets {
				if slices.Contains(outlets, o) {
					other.Outlets = append(other.Outlets, o)
				} else {
					other.Keeps = append(other.Keeps, o)
				}
			}
			others = append(others, other)
		}
	}
	return others, nil
}

// alight orders within tx that who shares outlets with a node that gets its power back has
// power, too: an outlet is off only as long as all want that whom it feeds.
func (p *Ports) alight(tx state.Tx, port Port) error {
	if !port.fed() {
		return nil
	}
	s, err := p.SupplyOf(tx, port.Switch)
	if err != nil {
		return err
	}
	others, err := sharing(tx, port.Switch, s.Outlets)
	if err != nil {
		return err
	}
	for _, mac := range others {
		if err := p.giveBack(tx, fed(mac)); err != nil {
			return err
		}
	}
	return nil
}

// Lit returns who is off, and shares an outlet with one of the nodes that is off: it gets its
// power back with that one.
func (p *Ports) Lit(r state.Reader, nodes []ethernet.MAC) (lit []Sharer, err error) {
	if any, err := anyFed(r); err != nil || !any {
		return nil, err
	}
	off := func(mac ethernet.MAC) (bool, error) {
		o, _, err := orders.Find(r, fed(mac).key())
		return o.Will == turnOff, err
	}
	seen := map[ethernet.MAC]bool{}
	for _, node := range nodes {
		seen[node] = true
	}
	for _, node := range nodes {
		for ask := []ethernet.MAC{node}; len(ask) > 0; ask = ask[1:] {
			s, err := p.SupplyOf(r, ask[0])
			if err != nil {
				return nil, err
			}
			if is, err := off(ask[0]); err != nil || !is || len(s.Outlets) == 0 {
				if err != nil {
					return nil, err
				}
				continue
			}
			others, err := sharing(r, ask[0], s.Outlets)
			if err != nil {
				return nil, err
			}
			for _, mac := range others {
				if is, err := off(mac); err != nil {
					return nil, err
				} else if !is || seen[mac] {
					continue
				}
				seen[mac] = true
				has, err := p.SupplyOf(r, mac)
				if err != nil {
					return nil, err
				}
				ask, lit = append(ask, mac), append(lit, Sharer{Node: mac, With: node, Outlets: has.Outlets})
			}
		}
	}
	return lit, nil
}

// MayBeOff is a fault when an outlet of the nodes feeds one that is not among them, and that
// nobody has switched off.
func (p *Ports) MayBeOff(r state.Reader, nodes []ethernet.MAC) error {
	strips, err := p.Strips(r, nodes)
	if err != nil {
		return err
	}
	for _, s := range strips {
		var needed []Device
		for _, other := range s.Others {
			if o, _, err := orders.Find(r, fed(other.Node).key()); err != nil {
				return err
			} else if o.Will == turnOff {
				continue
			}
			d, _, err := p.Devices.Behind(r, other.Node)
			if err != nil {
				return err
			}
			d.Name = cmp.Or(d.Name, string(other.Node))
			needed = append(needed, d)
		}
		if len(needed) == 0 {
			continue
		}
		f, err := p.feedsToo(r, s.Nodes[0], s.Outlets, needed)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(needed, func(d Device) bool { return !d.Node }) {
			var names []string
			for _, mac := range s.Nodes {
				name, err := p.name(r, mac)
				if err != nil {
					return err
				}
				names = append(names, name)
			}
			for _, d := range needed {
				names = append(names, d.Name)
			}
			f = f.WithHint("switch off all that it feeds: node off %s", strings.Join(names, ","))
		}
		return f
	}
	return nil
}

// feedsToo is the fault for a node whose outlets feed others.
func (p *Ports) feedsToo(r state.Reader, node ethernet.MAC, outlets driver.Supply, others []Device) (*fault.Error, error) {
	name, err := p.name(r, node)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range others {
		if d.Owner != "" {
			d.Name += " of " + d.Owner
		}
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return fault.Failedf("what feeds %s (%s) feeds %s, too; nothing changed", name, outlets, fault.Few(names)).
		WithHint("it is never switched for one of them alone (see: help show power)"), nil
}

// anyFed reports whether there is a node that outlets of drivers feed: most labs have none,
// and need not be asked about each.
func anyFed(r state.Reader) (any bool, err error) {
	for _, err := range feeds.Keys(r, "", "") {
		return true, err
	}
	return false, nil
}

// sharing returns the other nodes that the outlets feed.
func sharing(r state.Reader, node ethernet.MAC, outlets driver.Supply) (others []ethernet.MAC, err error) {
	for _, o := range outlets {
		all, _, err := feeds.Find(r, o.String())
		if err != nil {
			return nil, err
		}
		for _, mac := range all {
			if mac != node && !slices.Contains(others, mac) {
				others = append(others, mac)
			}
		}
	}
	return others, nil
}

// share gives a node its power back for good whose outlet feeds another one from now on. What
// was agreed to before leaves that one alone by itself.
func (p *Ports) share(tx state.Tx, node ethernet.MAC) error {
	o, found, err := orders.Find(tx, fed(node).key())
	if err != nil || !found || o.Will == turnOn || o.together() {
		return err
	}
	o.Will, o.Since, o.Attended = turnOn, p.Now().UTC(), false
	return errors.Join(orders.Put(tx, fed(node).key(), o), p.alight(tx, fed(node)))
}
