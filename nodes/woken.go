package nodes

import (
	"cmp"
	"context"

	"walt/await"
	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/remote"
	"walt/state"
)

// whoIs is the node with a MAC address, and where its SSH server was last; here is false if
// there is none.
func (l *Lab) whoIs(ctx context.Context, mac ethernet.MAC) (d Device, addr string, here bool, err error) {
	err = l.Store.View(ctx, func(r state.Reader) (err error) {
		if d, here, err = findMAC(r, mac); err == nil && here {
			addr, _, err = addresses.Find(r, string(mac))
		}
		return err
	})
	return d, cmp.Or(l.status.of(d.Name).Addr, addr), here, err
}

// Presence tells the ports of the lab what is seen of a node: it answers when its agent is
// connected, or its SSH server does.
func (l *Lab) Presence(ctx context.Context, mac ethernet.MAC) (power.Presence, error) {
	d, addr, here, err := l.whoIs(ctx, mac)
	switch {
	case err != nil || !here:
		return power.Silent, err
	case l.status.of(d.Name).State == Booting:
		return power.Starting, nil
	case l.Runs(mac):
		return power.Awake, nil
	case addr == "":
		return power.Silent, nil
	}
	if _, err := remote.Ping(ctx, l.Dial, addr); err != nil {
		return power.Silent, ctx.Err()
	}
	return power.Awake, nil
}

// fellSilent reports whether a node that packets wake does not answer, as after somebody pressed
// its button, whatever is known of it.
func (l *Lab) fellSilent(ctx context.Context, d Device) bool {
	woken, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.Woken(r, d.MAC) })
	if err != nil || !woken {
		return false
	}
	is, err := l.Presence(ctx, d.MAC)
	return err == nil && is == power.Silent
}

// ShutDown asks a node to shut down for the ports of the lab, and waits until it has.
func (l *Lab) ShutDown(ctx context.Context, mac ethernet.MAC) error {
	d, addr, here, err := l.whoIs(ctx, mac)
	if err != nil || !here {
		return err
	}
	why, err := state.Read(ctx, l.Store, func(r state.Reader) (power.Off, error) {
		o, _, err := l.Ports.Off(r, mac)
		return o, err
	})
	if err != nil {
		return err
	}
	defer l.status.expect(d.Name, causeOf(why))()
	if err := l.shutDown(ctx, d, addr); err != nil {
		return l.uncut(ctx, d, "shut down", err)
	}
	return nil
}

// Runs reports whether the agent of a node is connected.
func (l *Lab) Runs(mac ethernet.MAC) bool { return l.Agents != nil && l.Agents.Connected(mac) }

// Deaf reports whether a node says that no packet wakes its network card.
func (l *Lab) Deaf(mac ethernet.MAC) bool { return l.Agents != nil && l.Agents.Deaf(mac) }

// Restart asks a node to start anew for the ports of the lab.
func (l *Lab) Restart(ctx context.Context, mac ethernet.MAC) error {
	d, addr, here, err := l.whoIs(ctx, mac)
	if err != nil || !here {
		return err
	}
	asking, accepted := context.WithTimeout(ctx, softLimit)
	defer accepted()
	defer await.Begin(ctx, string(d.Name), "asking it to reboot")()
	if err := l.ask(asking, d, addr, "reboot"); err != nil {
		return l.uncut(ctx, d, "reboot", err)
	}
	return nil
}

// uncut is the fault for a node that did not do what it was asked for, whose power nothing
// can cut.
func (l *Lab) uncut(ctx context.Context, d Device, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.Failedf("it did not %s by itself (%s), and nothing can cut its power", what, err)
}
