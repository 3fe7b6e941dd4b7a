package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power/snmp"
	"walt/state"
)

// exploreLimit is how long a switch may take to tell what hangs on it.
const exploreLimit = 15 * time.Second

// Exploration is what one switch told.
type Exploration struct {
	Switch  Name
	Seen    int // MAC addresses behind its ports
	Strange int // of these, those that no device has
	Err     error
}

// Link is where a device hangs, and where it did before; the zero Port is nowhere.
type Link struct {
	Device   Name
	From, To Port
	Switch   Name // that To is of
}

// Rescan asks the explorable switches of the set what hangs on their ports, all
// at once, and notes it. Those that do not answer tell nothing.
func (l *Lab) Rescan(ctx context.Context, user auth.Name, set Set) (told []Exploration, links []Link, err error) {
	var asked []managed
	err = l.Store.View(ctx, func(r state.Reader) error {
		if some, err := explorable(r); err != nil {
			return err
		} else if len(some) == 0 {
			return fault.Failedf("no switch may be explored").WithHint("allow it with: device config SWITCH lldp.explore=true (see: help show power)")
		}
		ds, err := set.expand(r, user, deviceScope)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.Kind != Switch {
				return fault.Failedf("%s is not a switch; nothing changed", d.Name).WithHint("see what each device is with: device show")
			}
			sw, err := getSwitch(r, d.MAC)
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
			if !sw.Explore {
				return fault.Failedf("%s may not be explored; nothing changed", d.Name).
					WithHint("allow it with: device config %s lldp.explore=true", d.Name)
			}
			asked = append(asked, sw)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return l.explore(ctx, auth.Actor(user), asked)
}

func (l *Lab) explore(ctx context.Context, actor auth.Actor, asked []managed) (told []Exploration, links []Link, err error) {
	found := make([][]snmp.Neighbour, len(asked))
	told = make([]Exploration, len(asked))
	var work sync.WaitGroup // each for a limited time
	for i, sw := range asked {
		work.Go(func() {
			limited, cancel := context.WithTimeout(ctx, exploreLimit)
			defer cancel()
			told[i] = Exploration{Switch: Name(sw.Name)}
			told[i].Err = l.lines.use(limited, sw.Switch, func(agent Agent) (err error) {
				found[i], err = agent.Neighbours(limited)
				return err
			})
			l.contact(Name(sw.Name), told[i].Err)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	places, answered := map[ethernet.MAC]place{}, map[ethernet.MAC]bool{}
	for i, sw := range asked {
		answered[sw.mac] = told[i].Err == nil
		seen := map[string]bool{}
		for _, n := range found[i] {
			seen[n.MAC] = true
			here := place{Port{Switch: sw.mac, Number: n.Port}, n}
			if there, known := places[ethernet.MAC(n.MAC)]; !known || here.nearer(there) {
				places[ethernet.MAC(n.MAC)] = here
			}
		}
		told[i].Seen = len(seen)
	}
	_, err = l.Store.Update(ctx, func(tx state.Tx) (err error) {
		links, err = l.relink(tx, actor, places, answered)
		if err != nil {
			return err
		}
		for i := range asked {
			told[i].Strange = 0
			for mac := range macsOf(found[i]) {
				if _, err := macs.Get(tx, mac); errors.Is(err, state.ErrNotFound) {
					told[i].Strange++
				} else if err != nil {
					return err
				}
			}
		}
		return nil
	})
	l.kickPorts()
	l.kickSaver()
	return told, links, err
}

func macsOf(ns []snmp.Neighbour) map[string]bool {
	all := map[string]bool{}
	for _, n := range ns {
		all[n.MAC] = true
	}
	return all
}

// contact notes whether a switch answered.
func (l *Lab) contact(sw Name, err error) {
	if err != nil {
		l.status.change(sw, func(s *Status) { s.State, s.Why = Unreachable, reason(err) })
		return
	}
	l.status.change(sw, func(s *Status) { s.State, s.Why = Up, "" })
}

// place is where a switch sees a device.
type place struct {
	Port
	snmp.Neighbour
}

// nearer reports whether the device hangs here rather than there: it says so
// itself, or there is less else behind the port.
func (p place) nearer(there place) bool {
	if p.Source != there.Source {
		return p.Source == snmp.LLDP
	}
	return cmp.Or(cmp.Compare(p.Behind, there.Behind), cmp.Compare(p.key(), there.key())) < 0
}

// relink notes within tx where devices were seen. A port with a whole network
// behind it tells of nothing but of who introduces itself there, and so does any
// port of a device that hung on a switch which did not answer now.
func (l *Lab) relink(tx state.Tx, actor auth.Actor, places map[ethernet.MAC]place, answered map[ethernet.MAC]bool) (links []Link, err error) {
	all, err := everything(tx)
	if err != nil {
		return nil, err
	}
	var moved []Device
	for _, d := range all {
		p, seen := places[d.MAC]
		if !seen || d.Virtual() || d.Port.ByHand || d.Port == p.Port {
			continue
		}
		if unsure := p.Uplink() || d.Port.Switch != "" && !answered[d.Port.Switch]; unsure && p.Source != snmp.LLDP {
			continue
		}
		link, err := l.link(tx, actor, &d, p.Port)
		if err != nil {
			return nil, err
		}
		if err := devices.Put(tx, string(d.Name), d); err != nil {
			return nil, err
		}
		links, moved = append(links, link), append(moved, d)
	}
	for _, d := range moved { // now that whoever was seen elsewhere is there
		left, err := l.unlink(tx, actor, d, places)
		if err != nil {
			return nil, err
		}
		links = append(links, left...)
	}
	slices.SortFunc(links, func(a, b Link) int { return naturally(a.Device, b.Device) })
	return links, nil
}

// unlink takes back within tx where other devices were believed to hang when d
// was seen there, and they were not.
func (l *Lab) unlink(tx state.Tx, actor auth.Actor, d Device, places map[ethernet.MAC]place) (links []Link, err error) {
	here, err := plugged(tx, d.Port)
	if err != nil {
		return nil, err
	}
	for _, mac := range here {
		name, err := macs.Get(tx, string(mac))
		if err != nil {
			return nil, err
		}
		other, err := get(tx, name)
		if err != nil {
			return nil, err
		}
		if mac == d.MAC || other.Port.ByHand || places[mac].Port == d.Port {
			continue
		}
		link, err := l.link(tx, actor, &other, Port{})
		if err != nil {
			return nil, err
		}
		if err := devices.Put(tx, string(name), other); err != nil {
			return nil, err
		}
		links = append(links, link)
	}
	return links, nil
}

// link changes within tx where a device hangs; the caller writes the device.
// Both ports get their power back if it was cut: what hangs there is another
// device now.
func (l *Lab) link(tx state.Tx, actor auth.Actor, d *Device, to Port) (Link, error) {
	from := d.Port
	d.Port = to
	if err := plugs.Delete(tx, plug(from, *d)); err != nil {
		return Link{}, err
	}
	if to.Switch != "" {
		if err := plugs.Put(tx, plug(to, *d), true); err != nil {
			return Link{}, err
		}
	}
	link := Link{Device: d.Name, From: from, To: to}
	e := journal.Event{Type: journal.Registration, Actor: string(actor), Node: string(d.Name)}
	for _, end := range []struct {
		port Port
		text *string
	}{{from, &e.From}, {to, &e.To}} {
		if end.port.Switch == "" {
			continue
		}
		if err := l.giveBack(tx, end.port); err != nil {
			return link, err
		}
		name, err := macs.Get(tx, string(end.port.Switch))
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return link, err
		}
		*end.text = fmt.Sprintf("port %d of %s", end.port.Number, name)
		link.Switch = name
	}
	e.Detail = "connected to " + e.To
	if to.Switch == "" {
		e.Detail, link.Switch = "connected to no known port", ""
	}
	return link, l.Journal.Record(tx, e)
}
