package nodes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/host"
	"walt/power"
	"walt/remote"
	"walt/state"
)

// Way is a stay of a user at a node, over which it is reached with the user's own programs. It
// counts as use of the node. It ends with Leave.
type Way struct {
	Node DeviceStatus // as it was when the stay began

	lab   *Lab
	ctx   context.Context
	come  func(*remote.Visitors, context.Context, string, auth.Name) (context.Context, func())
	leave []func()
}

// Reach begins a stay of the user at a node that is the user's, free or shared with the user,
// or that the user agreed to use all the same. A node that boots is waited for as long as
// wait, and one that is off to save power is woken; with a wait of 0 neither is done. The name
// has to be exactly the node's.
//
// The context of the way ends with ctx, and with the reason, a fault, when the node changes
// hands, when its owner shares it no more, and when it goes down.
func (l *Lab) Reach(ctx context.Context, user auth.Name, n Name, given consent.Agreement, wait time.Duration) (*Way, error) {
	d, err := state.Read(ctx, l.Store, func(r state.Reader) (Device, error) { return reachable(r, user, n, given) })
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		if err := l.arouse(ctx, d, wait); err != nil {
			return nil, err
		}
	}
	w := &Way{lab: l, come: (*remote.Visitors).Enter}
	if err := w.begin(ctx, user, d, given, func() error { return cannotVisit(w.Node) }); err != nil {
		return nil, err
	}
	return w, nil
}

// begin begins the stay at a node that is as d says, and which may has nothing against.
func (w *Way) begin(ctx context.Context, user auth.Name, d Device, given consent.Agreement, may func() error) (err error) {
	w.ctx = w.enter(ctx, &w.lab.visitors, d.Name, user)
	if d.contested(user) && d.sharedWith(user) {
		w.ctx = w.enter(w.ctx, &w.lab.guests, d.Name, user)
	}
	w.Node, err = w.lab.stillReachable(ctx, user, d, given)
	if err == nil {
		err = may()
	}
	if w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	if err != nil {
		w.end()
	}
	return err
}

func (w *Way) enter(ctx context.Context, at *remote.Visitors, n Name, user auth.Name) context.Context {
	ctx, leave := w.come(at, ctx, string(n), user)
	w.leave = append(w.leave, leave)
	return ctx
}

// stillReachable looks again, now that changes would end the stay, whether all is as it was.
func (l *Lab) stillReachable(ctx context.Context, user auth.Name, before Device, given consent.Agreement) (now DeviceStatus, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		d, err := reachable(r, user, before.Name, given)
		switch {
		case err != nil:
			return err
		case d.MAC != before.MAC, d.Owner() != before.Owner(), !d.Since.Equal(before.Since):
			return changedHands(d.Name)
		}
		found, err := l.statusOf(ctx, pointers([]Device{d}))
		if err == nil {
			now = found[0]
		}
		return err
	})
	return now, err
}

// reachable returns a node that the user may reach.
func reachable(r state.Reader, user auth.Name, n Name, given consent.Agreement) (Device, error) {
	if exact, err := ParseName(string(n)); err != nil || exact != n {
		f := fault.Failedf("%.70q is no node: only nodes are reached, by their own names", n).WithHint("see all nodes with: node show --all")
		if err == nil {
			f = f.WithHint("write it in small letters: %s", exact)
		}
		return Device{}, f
	}
	d, err := get(r, n)
	switch {
	case err != nil:
		return d, err
	case d.Kind != Node:
		return d, fault.Failedf("%s is not a node", n).WithHint("see all nodes with: node show --all")
	case given.Check(claimsToUse([]Device{d}, user)) != nil:
		return d, fault.Failedf("%s is owned by %s, who does not share it with you", n, d.Owner()).WithHint("ask for it with: node ask %s", n)
	}
	return d, nil
}

// arouse returns when a node that boots, or that saves power, is up.
func (l *Lab) arouse(ctx context.Context, d Device, wait time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	sleeps := false
	err := l.Ports.Wiring(ctx, func(w power.Wiring) { sleeps = w.Ordered(d.MAC) })
	if err != nil {
		return err
	}
	s := l.status.of(d.Name)
	if !sleeps && (s.State != Booting || s.Stopped()) { // what is to be told of the others Reach finds out
		return nil
	}
	set := []*Device{&d}
	woke, err := l.Wake(patient, set)
	if s = l.status.of(d.Name); err == nil && (len(woke) > 0 || s.State == Booting) {
		_, err = l.Wait(patient, set, func([]Missing) {})
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		s = l.status.of(d.Name)
		what := string(s.State)
		if stands := s.Step.Stands(); s.State == Booting && stands != "" {
			what += ": " + stands
		}
		return fault.Failedf("%s is not up after %v (%s)", d.Name, wait, what).WithHint("wait for it with: node wait %s", d.Name)
	}
	return err
}

// Context ends when the stay does, with the reason.
func (w *Way) Context() context.Context { return w.ctx }

// Owner is who had the node when the stay began, auth.Nobody for a free one.
func (w *Way) Owner() auth.Name { return w.Node.Owner() }

// Leave ends the stay, also one that has ended otherwise. It is called once.
func (w *Way) Leave() {
	w.end()
	w.lab.left(w.ctx, w.Node) // it was use until now
}

func (w *Way) end() {
	for _, leave := range w.leave {
		leave()
	}
}

const (
	// portSSH is the one port that simulated nodes have.
	portSSH = 22
	// dialLimit is how long a node may take to accept a connection.
	dialLimit = 10 * time.Second
)

// Dial connects to a port of the node. It never connects to the server itself.
func (w *Way) Dial(ctx context.Context, port int) (net.Conn, error) {
	n := w.Node
	s := w.lab.status.of(n.Name)
	switch {
	case w.ctx.Err() != nil:
		return nil, context.Cause(w.ctx)
	case port < 1 || port > 65535:
		return nil, fault.Failedf("there is no port %d", port)
	case s.Addr == "" || s.Addr != n.Addr:
		return nil, fault.Failedf("%s went down", n.Name).WithHint("wait for it with: node wait %s", n.Name)
	case n.Host == Simulated && port != portSSH:
		return nil, fault.Failedf("%s is simulated: of its ports there is 22 alone, its SSH server", n.Name)
	}
	addr := s.Addr
	if n.Host != Simulated { // that of those is the server's, and theirs alone
		at, err := netip.ParseAddrPort(addr)
		if err != nil || !w.lab.elsewhere(at.Addr()) {
			return nil, fault.Failedf("%s has an address that is not a node's: %s", n.Name, addr)
		}
		addr = netip.AddrPortFrom(at.Addr().Unmap(), uint16(port)).String()
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	conn, err := w.lab.Dial(ctx, "tcp", addr)
	switch {
	case err == nil:
		return conn, nil
	case w.ctx.Err() != nil:
		return nil, context.Cause(w.ctx)
	}
	return nil, fault.Failedf("port %d of %s: %s", port, n.Name, inShort(err))
}

// inShort says without addresses why a connection failed.
func inShort(err error) string {
	if slow, is := errors.AsType[net.Error](err); is && slow.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return "no answer"
	}
	words := strings.Split(err.Error(), ": ")
	return words[len(words)-1]
}

// elsewhere reports whether an address can be that of another machine on a network: it is
// none of the server's own, and none with which no machine of the lab is meant.
func (l *Lab) elsewhere(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return ip.IsGlobalUnicast() && ip.String() != l.IP && !(l.Own != nil && l.Own(ip)) && !host.Has(ip)
}
