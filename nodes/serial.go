package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"walt/auth"
	"walt/consent"
	"walt/console"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power"
	"walt/remote"
	"walt/state"
)

// serialSetting says where the serial line of a board or PC is.
var serialSetting = power.Setting[Settings]{
	Key: "serial", Allowed: console.Targets,
	Get: func(s *Settings) string {
		if s.Serial == "" {
			return "none"
		}
		return s.Serial
	},
	Set: func(s *Settings, v string) error {
		t, err := console.ParseTarget(v)
		switch {
		case fault.As(err) != nil:
			return err
		case err != nil:
			return power.ErrNotAllowed
		case t == console.Target{}:
			s.Serial = ""
		default:
			s.Serial = t.String()
		}
		return nil
	},
}

// mayAssign is a fault when only administrators give devices these settings: a serial line is
// an address or a device that the server itself opens.
func mayAssign(r state.Reader, user auth.Name, want []Assignment) error {
	what := ""
	switch {
	case assigns(want, serialSetting.Key):
		what = "where a serial line is"
	case assigns(want, powerKeys...):
		what = "what gives nodes their power"
	default:
		return nil
	}
	err := auth.Require(r, user)
	if fault.As(err) != nil {
		err = fault.Failedf("only administrators say %s; nothing changed", what).WithHint("see who is one with: user show")
	}
	return err
}

// lineTaken is a fault when a serial line that one of the devices is given is the one of another
// device: each would have a part of what the board writes, and its user what another one types.
func (l *Lab) lineTaken(ctx context.Context, ds []Device, want []Assignment) error {
	i := slices.IndexFunc(want, func(a Assignment) bool { return a.Key == serialSetting.Key })
	if i < 0 {
		return nil
	}
	t, err := console.ParseTarget(want[i].Value)
	if err != nil || t == (console.Target{}) || len(ds) == 0 {
		return nil // assign tells of an error
	}
	if len(ds) > 1 {
		return fault.Failedf("a serial line is that of one board, not of %d; nothing changed", len(ds)).WithHint("give each one its own")
	}
	others, err := read(ctx, l.view, func() []*Device {
		return l.view.which(func(d *Device) bool {
			if d.MAC == ds[0].MAC || d.Settings().Serial == "" {
				return false
			}
			has, err := console.ParseTarget(d.Settings().Serial)
			return err == nil && has.Addr == t.Addr && has.Device == t.Device
		})
	})
	if err != nil || len(others) == 0 {
		return err
	}
	n := others[0].Name
	return fault.Failedf("%s is the serial line of %s; nothing changed", want[i].Value, n).WithHint("if it is not any more: device config %s serial=none", n)
}

// supplyKeys are those of power.SupplySettings.
var supplyKeys = []string{"power", "power.off"}

// powerKeys are those of settings that administrators alone give a value.
var powerKeys = slices.Concat(supplyKeys, []string{"power.first"})

// assigns reports whether a user gives one of the settings a value.
func assigns(want []Assignment, keys ...string) bool {
	return slices.ContainsFunc(want, func(a Assignment) bool { return slices.Contains(keys, a.Key) })
}

// term is the time for which the device is somebody's, or nobody's, in words that are those of
// no other one.
func (d Device) term() string { return fmt.Sprintf("%s %d", d.Owner(), d.Since.UnixNano()) }

// Term is in which term a node writes now, for console.Config. It is none while the node goes
// on with an image of the owner before: what that writes is not for who has the node now.
// Of a board that is not known to do so it is the term: its firmware belongs to nobody.
func (l *Lab) Term(mac ethernet.MAC) string {
	d, err := l.WithMAC(mac)
	if err != nil || d == nil {
		return ""
	}
	if d.outlived() && (d.Virtual() || l.status.isUp(d.Name)) {
		return ""
	}
	return d.term()
}

// connectSerials has the lines of boards lead to where the settings say, of all devices.
func (l *Lab) connectSerials(ctx context.Context) error {
	if l.Lines == nil {
		return nil
	}
	here := map[ethernet.MAC]bool{}
	wanted, err := read(ctx, l.view, func() (all []Name) {
		for _, d := range l.view.named {
			here[d.MAC] = true
			if d.Settings().Serial != "" {
				all = append(all, d.Name)
			}
		}
		return all
	})
	if err != nil {
		return err
	}
	if err := l.Lines.Sweep(func(mac ethernet.MAC) bool { return here[mac] }); err != nil {
		l.Log.Error("drop what nodes that are gone wrote on their serial lines", "err", err)
	}
	return l.connectSerial(ctx, wanted...)
}

// connectSerial has the lines of boards lead to where their settings say now.
func (l *Lab) connectSerial(ctx context.Context, all ...Name) error {
	if l.Lines == nil || len(all) == 0 {
		return nil
	}
	l.wiring.Lock() // who comes later has read what is newer
	defer l.wiring.Unlock()
	boards, err := read(ctx, l.view, func() (boards []*Device) {
		for _, n := range all {
			if d := l.view.named[n]; d != nil && !d.Virtual() {
				boards = append(boards, d)
			}
		}
		return boards
	})
	for _, d := range boards {
		t, err := console.ParseTarget(serialSetting.Get(new(d.Settings())))
		if err != nil { // an earlier server took it
			l.Log.Warn("the serial line of a node is not connected", "node", d.Name, "err", err)
			t = console.Target{}
		}
		l.Lines.Connect(d.MAC, t)
	}
	return err
}

// noConsole is why a node has no console, nil when it has one.
func (l *Lab) noConsole(d Device) error {
	switch {
	case d.Host == Simulated:
		return fault.Failedf("%s is simulated: it has no console", d.Name).WithHint("open a shell with: node shell %s", d.Name)
	case l.Lines == nil:
		return fault.Failedf("this server has no consoles")
	case !d.Virtual() && d.Settings().Serial == "":
		return fault.Failedf("%s has no console: nobody said where its serial line is", d.Name).
			WithHint("an administrator does so with: node config %s serial=tcp://HOST:PORT (see: help show hardware)", d.Name)
	}
	return nil
}

// Console is a user's stay at the console of a node.
type Console struct {
	*Way // which goes on while the node is down
	*console.Seat
	Line *console.Line
}

// Sit begins a stay at the console of a node, as Reach does; the node may be off. It ends when
// the node changes hands, gets another name or is removed, not when it goes down. The log, and
// the owner of a node that is neither the user's nor shared, are told of it.
func (l *Lab) Sit(ctx context.Context, user auth.Name, n Name, given consent.Agreement) (*Console, error) {
	w, term, err := l.sit(ctx, user, n, given, deed{"opened the console", journal.Notice{
		One: string(user) + " opened the console of your node %s", Several: string(user) + " opened the consoles of %s",
	}})
	if err != nil {
		return nil, err
	}
	now := func() string { return l.termOf(w.Node.MAC, user) }
	line := l.Lines.Of(w.Node.MAC)
	return &Console{w, line.Sit(string(user), term, now), line}, nil
}

// ConsoleHistory returns what was written on the console of a node in its present term, to who
// may Sit there. Who reads it closes it.
func (l *Lab) ConsoleHistory(ctx context.Context, user auth.Name, n Name, given consent.Agreement) (io.ReadCloser, error) {
	w, term, err := l.sit(ctx, user, n, given, deed{"read the history of the console", journal.Notice{
		One: string(user) + " read the history of the console of your node %s", Several: string(user) + " read the histories of the consoles of %s",
	}})
	if err != nil {
		return nil, err
	}
	w.end()
	return l.Lines.Of(w.Node.MAC).History(term)
}

// sit begins a stay at a node that has a console, tells of it, and returns the node's term.
func (l *Lab) sit(ctx context.Context, user auth.Name, n Name, given consent.Agreement, what deed) (*Way, string, error) {
	d, err := state.Read(ctx, l.Store, func(r state.Reader) (Device, error) { return reachable(r, user, n, given) })
	if err != nil {
		return nil, "", err
	}
	w := &Way{lab: l, come: (*remote.Visitors).Remain}
	err = w.begin(ctx, user, d, given, func() error {
		if err := l.noConsole(*w.Node.Device); err != nil {
			return err
		}
		v := &Visit{lab: l, node: w.Node}
		return cmp.Or(l.announce(ctx, user, []*Visit{v}, what), v.err)
	})
	if err != nil {
		return nil, "", err
	}
	return w, w.Node.term(), nil
}

// termOf is the term of a node that the user owns by now, "" of others.
func (l *Lab) termOf(mac ethernet.MAC, user auth.Name) string {
	d, err := l.WithMAC(mac)
	if err != nil || d == nil || d.Kind != Node || d.Owner() != user {
		return ""
	}
	return d.term()
}

// Leave ends the stay.
func (c *Console) Leave() {
	c.Seat.Leave()
	c.Way.Leave()
}

// SerialState is where the serial line of a board is, "" for nowhere, and why it is not
// connected, "" if it is.
func (l *Lab) SerialState(d Device) (at, why string) {
	if at = d.Settings().Serial; at == "" || l.Lines == nil {
		return at, ""
	}
	_, why = l.Lines.Of(d.MAC).Plugged()
	return at, why
}

// forgetLine drops what was kept of the console of a device that is gone.
func (l *Lab) forgetLine(d Device) {
	if l.Lines == nil {
		return
	}
	l.wiring.Lock()
	defer l.wiring.Unlock()
	if err := l.Lines.Forget(d.MAC); err != nil && !errors.Is(err, context.Canceled) {
		l.Log.Error("drop what a node that is gone wrote on its serial line", "node", d.Name, "err", err)
	}
}
