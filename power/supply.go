package power

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/power/driver"
	"walt/state"
)

// Supply is what administrators told of what gives a node its power. The zero Supply is the
// port that the node is connected to.
type Supply struct {
	Outlets driver.Supply `json:"outlets,omitempty"` // that feed it, whatever it is connected to
	None    bool          `json:"none,omitempty"`    // nothing does that the server may switch
	WOL     bool          `json:"wol,omitempty"`     // the same, but the node shuts down when asked to, and packets wake it
	// Off is how long outlets are off for a moment, in nanoseconds; 0 is 5 s.
	Off time.Duration `json:"off,omitempty"`
	// Astray is that the node ran on while its outlets were off, see astray.go.
	Astray bool `json:"astray,omitempty"`
}

const (
	// defaultOff is long enough for what a power supply has stored.
	defaultOff = 5 * time.Second
	// mostOff leaves time to switch them within what the restart of a node may take.
	mostOff = time.Minute
)

var (
	supplies = state.NewTable[Supply]("supply") // by the MAC of the node
	// feeds is the same by the outlet: whoever relies on what shares one reads its row,
	// which whoever has it feed another node writes.
	feeds = state.NewTable[[]ethernet.MAC]("feed")
)

// fed is what a node has in the place of a port that outlets of drivers feed, or packets wake.
func fed(node ethernet.MAC) Port { return Port{Switch: node, Number: -1} }

// fed reports whether it is that of such a node.
func (p Port) fed() bool { return p.Number < 0 }

// ofSwitch reports whether it is a port indeed.
func (p Port) ofSwitch() bool { return p.Number > 0 }

// String is as in the setting power.
func (s Supply) String() string {
	switch {
	case s.None:
		return "none"
	case s.WOL:
		return "wol"
	case len(s.Outlets) == 0:
		return "poe"
	}
	return s.Outlets.String()
}

// ParseSupply parses what String writes.
func ParseSupply(text string) (s Supply, err error) {
	switch text {
	case "poe":
	case "none":
		s.None = true
	case "wol":
		s.WOL = true
	default:
		s.Outlets, err = driver.ParseSupply(text)
	}
	return s, err
}

// OffTime is for how long the outlets are off for a moment.
func (s Supply) OffTime() time.Duration { return min(cmp.Or(s.Off, defaultOff), mostOff) }

// SupplyOf returns what gives a node its power, as administrators told.
func (p *Ports) SupplyOf(r state.Reader, node ethernet.MAC) (Supply, error) {
	l, err := linkOf(r, node)
	if err != nil || !l.Told {
		return Supply{}, err
	}
	s, _, err := supplies.Find(r, string(node))
	return s, err
}

// putSupply writes what administrators told of the power of a node.
func putSupply(tx state.Tx, node ethernet.MAC, s Supply) error {
	l, err := linkOf(tx, node)
	if err != nil {
		return err
	}
	was := l.Told
	if l.Told = s.String() != "poe"; l.Told {
		err = supplies.Put(tx, string(node), s)
	} else if was {
		err = errors.Join(supplies.Delete(tx, string(node)), cycled.Delete(tx, string(node)))
	}
	if err != nil || l.Told == was {
		return err
	}
	return putLink(tx, node, l)
}

// controlFed is control of a node of whose power administrators told. An outlet that feeds
// several nodes is never switched for one of them.
func controlFed(r state.Reader, node ethernet.MAC) (Port, error) {
	s, _, err := supplies.Find(r, string(node))
	if err == nil && s.WOL {
		return fed(node), nil
	}
	if err != nil || len(s.Outlets) == 0 {
		return Port{}, err
	}
	if others, err := sharing(r, node, s.Outlets); err != nil || len(others) > 0 {
		return Port{}, err
	}
	return fed(node), nil
}

// errOvertaken says that somebody ordered something else meanwhile.
var errOvertaken = errors.New("something else is ordered by now")

// carryOutFed is carryOut for a node that is fed by outlets. An order that is overtaken while
// devices are asked, which may take minutes, is given up, and the newest one followed.
func (p *Ports) carryOutFed(ctx context.Context, port Port) (did order, err error) {
	for {
		if _, did, err = p.ordered(ctx, port); err != nil || did.Will == "" {
			return order{}, err
		}
		if err = p.switchFed(ctx, port, did); !errors.Is(err, errOvertaken) {
			return did, err
		}
	}
}

// switchFed has the outlets of a node switched as is ordered.
func (p *Ports) switchFed(ctx context.Context, port Port, o order) error {
	f := driver.Feed{Several: o.together(), Still: func(ctx context.Context) error {
		err := p.still(ctx, port, o)
		if err == nil {
			p.cut.Store(port, o.Since)
		}
		return err
	}}
	var off time.Duration
	err := p.Store.View(ctx, func(r state.Reader) (err error) {
		if f.Node, err = p.name(r, port.Switch); err != nil {
			return err
		}
		f.Supply, off, err = p.offTime(r, port.Switch, o)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.Will == cycle:
		if err = p.Drivers.Cycle(ctx, f, off); err == nil { // also of what was off anyway
			p.cut.Store(port, o.Since)
		}
		return err
	}
	return p.Drivers.Switch(ctx, f, o.Will == turnOn)
}

// still is driver.Feed.Still of an order.
func (p *Ports) still(ctx context.Context, port Port, o order) error {
	_, err := state.Lasting(ctx, p.Store, func(r state.Reader) (now order, err error) {
		if now, _, err = orders.Find(r, port.key()); err != nil {
			return now, err
		}
		if !now.same(o) {
			return now, errOvertaken
		}
		return now, p.agreed(r, o)
	})
	return err
}

// offTime returns the outlets that an order of a node is about, and for how long they are off
// for a moment: as long as any of those wants that whom it is about.
func (p *Ports) offTime(r state.Reader, node ethernet.MAC, o order) (outlets driver.Supply, off time.Duration, err error) {
	s, err := p.SupplyOf(r, node)
	if outlets, off = s.Outlets, s.OffTime(); !o.together() || err != nil {
		return outlets, off, err
	}
	for mac := range o.Held {
		s, err := p.SupplyOf(r, mac)
		if err != nil {
			return nil, 0, err
		}
		off = max(off, s.OffTime())
	}
	return o.Outlets, off, nil
}

// cycled is when the power of nodes was last cut for a moment unasked, by their MAC: the last
// hour of it.
var cycled = state.NewTable[[]time.Time]("cycled")

// mostCycles is how often that may be within an hour.
const mostCycles = 6

// NoteCycle notes within tx that a node is to be power cycled though nobody asked for it. It
// returns why it may not, "" if it may: not more than six times an hour, and never one that
// packets wake. Nothing is noted of one whose power the server has no means to cut.
func (p *Ports) NoteCycle(tx state.Tx, node ethernet.MAC) (refused string, err error) {
	s, err := p.SupplyOf(tx, node)
	if err == nil && s.WOL {
		return "packets wake it, and nothing can cut its power", nil
	}
	if err == nil && len(s.Outlets) == 0 {
		var port Port
		if port, err = control(tx, node); err == nil && port.IsZero() {
			return "", nil
		}
	}
	if err != nil {
		return "", err
	}
	last, _, err := cycled.Find(tx, string(node))
	if err != nil {
		return "", err
	}
	now := p.Now().UTC()
	last = slices.DeleteFunc(slices.Clone(last), func(at time.Time) bool { return now.Sub(at).Abs() >= time.Hour })
	if len(last) >= mostCycles {
		return "its power was cut six times within the hour", nil
	}
	return "", cycled.Put(tx, string(node), append(last, now))
}

// SupplySettings are those of nodes that drivers may feed.
func SupplySettings() []Setting[Supply] {
	return []Setting[Supply]{
		{
			Key: "power", Allowed: "poe, none, wol, outlets as rack1:7+rack1:8, bmc@10.9.1.7",
			Get: func(s *Supply) string { return s.String() },
			Set: func(s *Supply, v string) error {
				if v == "on" || v == "off" {
					return fault.Usagef("power tells what feeds a node, and switches nothing").WithHint("switch it with: node %s NODE", v)
				}
				told, err := ParseSupply(v)
				if len(told.Outlets) > 0 {
					told.Off = s.Off
				}
				*s = told
				return err
			},
		},
		{
			Key: "power.off", Allowed: "how long its outlets are off at a reboot, 1s to 1m",
			Get: func(s *Supply) string {
				if len(s.Outlets) == 0 {
					return ""
				}
				return s.OffTime().String()
			},
			Set: func(s *Supply, v string) error {
				d, err := time.ParseDuration(v)
				if err != nil || d < time.Second || d > mostOff {
					return ErrNotAllowed
				}
				s.Off = d
				return nil
			},
		},
	}
}
