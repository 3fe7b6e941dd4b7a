package power

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"walt/ethernet"
	"walt/journal"
	"walt/pause"
	"walt/power/snmp"
	"walt/state"
)

// exploreLimit is how long a switch may take to tell what is connected to it.
const exploreLimit = 15 * time.Second

// Exploration is what one switch told.
type Exploration struct {
	Switch  string
	Seen    int // MAC addresses behind its ports
	Strange int // of these, those that no device has
	Err     error
}

// Explore asks switches what is connected to their ports, all at once, and notes
// it. Those that do not answer tell nothing.
func (p *Ports) Explore(ctx context.Context, actor journal.Actor, macs []ethernet.MAC) (told []Exploration, moves []Move, err error) {
	var asked []target
	err = p.Store.View(ctx, func(r state.Reader) error {
		asked = nil
		for _, mac := range macs {
			sw, err := p.target(r, mac)
			if err == nil {
				asked = append(asked, sw)
			} else if !errors.Is(err, state.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	found, called := make([][]snmp.Neighbour, len(asked)), make([][]snmp.PortName, len(asked))
	told = make([]Exploration, len(asked))
	var work sync.WaitGroup // each for a limited time
	for i, sw := range asked {
		work.Go(func() {
			limited, cancel := context.WithTimeout(ctx, exploreLimit)
			defer cancel()
			told[i] = Exploration{Switch: sw.Name}
			told[i].Err = p.sessions.use(limited, sw.Switch.Switch, func(agent Agent) (err error) {
				if found[i], err = agent.Neighbours(limited); err == nil {
					called[i], err = agent.Names(limited)
				}
				return err
			})
			p.contacts.note(sw.mac, told[i].Err)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	s := sightings{places: map[ethernet.MAC]place{}, answered: map[ethernet.MAC]bool{}}
	for i, sw := range asked {
		s.answered[sw.mac] = told[i].Err == nil
		for _, n := range found[i] {
			s.add(place{Port{Switch: sw.mac, Number: n.Port}, n})
		}
		told[i].Seen = len(macsOf(found[i]))
	}
	_, err = p.Store.Update(ctx, func(tx state.Tx) (err error) {
		devices, err := p.seen(tx, s)
		if err != nil {
			return err
		}
		for i, sw := range asked {
			if told[i].Err == nil && !sw.forgotten {
				if err := keepNames(tx, sw.mac, called[i]); err != nil {
					return err
				}
			}
			told[i].Strange = 0
			for mac := range macsOf(found[i]) {
				if _, known := devices[mac]; !known {
					told[i].Strange++
				}
			}
		}
		moves, err = p.relink(tx, actor, s, devices)
		return err
	})
	return told, moves, err
}

func macsOf(ns []snmp.Neighbour) map[ethernet.MAC]bool {
	all := map[ethernet.MAC]bool{}
	for _, n := range ns {
		all[ethernet.MAC(n.MAC)] = true
	}
	return all
}

// place is where a switch sees a device.
type place struct {
	Port
	snmp.Neighbour
}

// nearer reports whether the device is connected here rather than there: it says
// so itself, or there is less else behind the port.
func (p place) nearer(there place) bool {
	if p.Source != there.Source {
		return p.Source == snmp.LLDP
	}
	return cmp.Or(cmp.Compare(p.Behind, there.Behind), cmp.Compare(p.key(), there.key())) < 0
}

// sightings are the place of each device, as the switches that answered tell.
type sightings struct {
	places   map[ethernet.MAC]place
	answered map[ethernet.MAC]bool
}

func (s sightings) add(here place) {
	mac := ethernet.MAC(here.MAC)
	if there, known := s.places[mac]; !known || here.nearer(there) {
		s.places[mac] = here
	}
}

// tell reports whether they tell that a device is connected elsewhere than it
// was. A port with a whole network behind it tells of nothing but of who
// introduces itself there, and so does any port of a device that was connected
// to a switch which did not answer now.
func (s sightings) tell(mac ethernet.MAC, was Link) bool {
	p, seen := s.places[mac]
	if !seen || was.ByHand || was.Port == p.Port {
		return false
	}
	unsure := p.Uplink() || !was.IsZero() && !s.answered[was.Switch]
	return !unsure || p.Source == snmp.LLDP
}

// seen returns the devices of the lab among those that were seen.
func (p *Ports) seen(r state.Reader, s sightings) (map[ethernet.MAC]Device, error) {
	found := map[ethernet.MAC]Device{}
	for mac := range s.places {
		d, known, err := p.Devices.Behind(r, mac)
		if err != nil {
			return nil, err
		}
		if known {
			found[mac] = d
		}
	}
	return found, nil
}

// relink notes within tx where devices were seen.
func (p *Ports) relink(tx state.Tx, actor journal.Actor, s sightings, devices map[ethernet.MAC]Device) (moves []Move, err error) {
	byName := slices.SortedFunc(maps.Keys(devices), func(a, b ethernet.MAC) int { return cmp.Compare(devices[a].Name, devices[b].Name) })
	var moved []ethernet.MAC
	for _, mac := range byName {
		was, err := linkOf(tx, mac)
		if err != nil {
			return nil, err
		}
		if devices[mac].Virtual || !s.tell(mac, was) {
			continue
		}
		m, err := p.move(tx, actor, mac, Link{Port: s.places[mac].Port})
		if err != nil {
			return nil, err
		}
		moves, moved = append(moves, m), append(moved, mac)
	}
	for _, mac := range moved { // now that whoever was seen elsewhere is there
		left, err := p.displace(tx, actor, mac, s)
		if err != nil {
			return nil, err
		}
		moves = append(moves, left...)
	}
	return moves, nil
}

// displace takes back within tx where other devices were believed to be
// connected when one was seen there, and they were not.
func (p *Ports) displace(tx state.Tx, actor journal.Actor, by ethernet.MAC, s sightings) (moves []Move, err error) {
	here, err := connectedTo(tx, s.places[by].Port)
	if err != nil {
		return nil, err
	}
	for _, mac := range here {
		l, err := linkOf(tx, mac)
		if err != nil {
			return nil, err
		}
		if l.ByHand || s.places[mac].Port == l.Port { // the latter is so of by itself
			continue
		}
		m, err := p.move(tx, actor, mac, Link{})
		if err != nil {
			return nil, err
		}
		moves = append(moves, m)
	}
	return moves, nil
}

// settleTime is how long after the start of a node the switches are asked where
// it is: others may start with it.
const settleTime = 5 * time.Second

// Rediscover has all explorable switches asked soon where devices are: one may
// have moved.
func (p *Ports) Rediscover() { wake(p.moved) }

// rediscover finds devices that moved until ctx ends.
func (p *Ports) rediscover(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.moved:
		}
		if pause.For(ctx, settleTime) != nil {
			return nil
		}
		var asked map[ethernet.MAC]bool
		err := p.Store.View(ctx, func(r state.Reader) (err error) {
			asked, err = Explorable(r)
			return err
		})
		if err == nil && len(asked) > 0 {
			_, _, err = p.Explore(ctx, journal.Server, slices.Collect(maps.Keys(asked)))
		}
		if err != nil && ctx.Err() == nil {
			p.Log.Error("look where devices are", "err", err)
		}
	}
}
