package nodes

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/state"
)

// Exposed is a port of the server that leads to one of a node, as long as its owner has it.
type Exposed struct {
	Port int `json:"port"` // of the server
	To   int `json:"to"`   // of the node
}

func (e Exposed) String() string { return fmt.Sprintf("%d:%d", e.Port, e.To) }

// Exposure is such a port of a node that may be in use.
type Exposure struct {
	Exposed
	Node  Name
	Owner auth.Name
	Up    bool
}

// PortRange is the ports from First to Last; the zero PortRange is none.
type PortRange struct{ First, Last int }

func (r PortRange) holds(port int) bool { return port >= r.First && port <= r.Last && port > 0 }

// Doors opens the ports that nodes are exposed at.
type Doors interface {
	// Free is a fault unless the server may listen on a port, or does so for a node.
	Free(port int) error
	// Wrong says in words for users why a port is not open that should be, "" when it is.
	Wrong(port int) string
}

// mostExposed is how many ports of the server a node may have.
const mostExposed = 16

// exposed is which device was last given each port of the server, by its number. It has the
// port as long as its remarks say so: who loses it all at once, as at a change of hands,
// leaves the row.
var exposed = state.NewTable[ethernet.MAC]("exposed")

func exposedKey(port int) string { return fmt.Sprintf("%05d", port) }

// ExposedRows is the beginning of the keys of the store that change with what is exposed.
func ExposedRows() string { return exposed.Prefix("") }

// SetExposable sets which ports of the server nodes may be exposed at.
func (l *Lab) SetExposable(r PortRange) { l.exposable.Store(&r) }

func (l *Lab) exposablePorts() PortRange {
	if r := l.exposable.Load(); r != nil {
		return *r
	}
	return PortRange{}
}

const exposeKey = "expose"

// exposeSetting is one of the owner's: it is a remark, and ends as these do.
var exposeSetting = setting{
	of: isNode,
	Setting: power.Setting[subject]{
		Key: exposeKey, Allowed: "none, or ports of server and node, as in 8080:80,8022:22",
		Get: func(s *subject) string {
			var all []string
			for _, e := range s.Remarks().Exposed {
				all = append(all, e.String())
			}
			if all == nil {
				return "none"
			}
			return strings.Join(all, ",")
		},
		Set: func(s *subject, v string) error {
			if s.Owner() == "" || s.Free() {
				return fault.Failedf("%s is nobody's: only who owns a node exposes its ports; nothing changed", s.Name).WithHint("take it with: node acquire %s", s.Name)
			}
			all, err := parseExposed(v)
			r := s.Remarks()
			r.Exposed = all
			s.say(r)
			return err
		},
	},
}

// parseExposed parses "none", or pairs of ports joined by commas, each port of the server once.
func parseExposed(s string) (all []Exposed, err error) {
	if s == "none" {
		return nil, nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		from, to, _ := strings.Cut(pair, ":")
		var e Exposed
		if e.Port, err = whole(from, 1, 65535); err != nil {
			return nil, err
		}
		if e.To, err = whole(to, 1, 65535); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other Exposed) bool { return other.Port == e.Port }) {
			return nil, fault.Usagef("port %d of the server is given twice; nothing changed", e.Port).WithHint("each leads to one port of a node")
		}
		all = append(all, e)
	}
	if len(all) > mostExposed {
		return nil, fault.Usagef("these are %d ports, of which a node has %d; nothing changed", len(all), mostExposed).WithHint("reach others with: ssh -L (see: help show reaching-nodes)")
	}
	return all, nil
}

// wanted returns the ports of the server that a user wants nodes to be exposed at.
func wanted(want []Assignment) (all []Exposed, wants bool) {
	i := slices.IndexFunc(want, func(a Assignment) bool { return a.Key == exposeKey })
	if i < 0 {
		return nil, false
	}
	all, _ = parseExposed(want[i].Value) // of an error assign tells
	return all, true
}

// canExpose is a fault unless ports of the server are there for it, before any transaction.
func (l *Lab) canExpose(want []Assignment) error {
	all, _ := wanted(want)
	r := l.exposablePorts()
	for _, e := range all {
		switch {
		case r == (PortRange{}):
			return fault.Failedf("this server exposes no ports of nodes; nothing changed").
				WithHint("administrators allow it with [expose] ports in the configuration (see: help show admin)\nfor yourself, reach them with: ssh -L (see: help show reaching-nodes)")
		case !r.holds(e.Port):
			return fault.Failedf("port %d of the server is not for nodes; nothing changed", e.Port).WithHint("choose one from %d to %d", r.First, r.Last)
		case l.Doors == nil:
			continue
		}
		if err := l.Doors.Free(e.Port); err != nil {
			return err
		}
	}
	return nil
}

// mayExpose is a fault unless the user owns the devices, whose ports are to be exposed, and
// each port of the server leads to one of them.
func mayExpose(ds []Device, user auth.Name, want []Assignment) error {
	for _, d := range ds {
		if d.Kind == Node && !d.Free() && d.Owner() != user {
			return fault.Failedf("%s is owned by %s: only who owns a node exposes its ports; nothing changed", d.Name, d.Owner()).WithHint("ask for it with: node ask %s", d.Name)
		}
	}
	if all, _ := wanted(want); len(all) > 0 && len(ds) > 1 {
		return fault.Failedf("port %d of the server leads to one node, and these are %d; nothing changed", all[0].Port, len(ds)).WithHint("give each a port of its own")
	}
	return nil
}

// expose gives within tx a device the ports of the server that its remarks tell now.
func (l *Lab) expose(tx state.Tx, before, d Device) error {
	has := d.Remarks().Exposed
	for _, e := range has {
		if d.Host == Simulated && e.To != portSSH {
			return fault.Failedf("%s is simulated: of its ports there is 22 alone, its SSH server; nothing changed", d.Name)
		}
		other, taken, err := exposes(tx, e.Port)
		switch {
		case err != nil:
			return err
		case taken && other.MAC != d.MAC:
			return fault.Failedf("port %d of the server is taken by %s, which is owned by %s; nothing changed", e.Port, other.Name, other.Owner()).WithHint("choose another port")
		}
		if err := exposed.Put(tx, exposedKey(e.Port), d.MAC); err != nil {
			return err
		}
	}
	for _, e := range before.Remarks().Exposed {
		if !slices.ContainsFunc(has, func(now Exposed) bool { return now.Port == e.Port }) {
			if err := exposed.Delete(tx, exposedKey(e.Port)); err != nil {
				return err
			}
		}
	}
	return nil
}

// exposes returns the device that a port of the server leads to.
func exposes(r state.Reader, port int) (d Device, found bool, err error) {
	mac, found, err := exposed.Find(r, exposedKey(port))
	if err != nil || !found {
		return d, false, err
	}
	d, found, err = findMAC(r, mac)
	has := slices.ContainsFunc(d.Remarks().Exposed, func(e Exposed) bool { return e.Port == port })
	return d, found && has && !d.Free(), err
}

// Exposures returns the ports of the server that nodes are exposed at, of those that are
// allowed now.
func (l *Lab) Exposures(ctx context.Context) (all []Exposure, err error) {
	allowed := l.exposablePorts()
	err = l.Store.View(ctx, func(r state.Reader) error {
		all = nil
		keys, err := exposed.AllKeys(r, "")
		if err != nil {
			return err
		}
		for _, key := range keys {
			port, err := strconv.Atoi(key)
			if err != nil || !allowed.holds(port) {
				continue
			}
			d, found, err := exposes(r, port)
			if err != nil {
				return err
			}
			for _, e := range d.Remarks().Exposed {
				if found && e.Port == port {
					all = append(all, Exposure{e, d.Name, d.Owner(), l.status.of(d.Name).State == Up})
				}
			}
		}
		return nil
	})
	return all, err
}

// NotOpen says in words for users why a port of the server does not lead to its node, "" when
// it does, while the node is up.
func (l *Lab) NotOpen(port int) string {
	switch {
	case !l.exposablePorts().holds(port):
		return "not allowed any more"
	case l.Doors == nil:
		return ""
	}
	return l.Doors.Wrong(port)
}
