package qemu

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"walt/ethernet"
	"walt/netboot"
	"walt/vnode/bridge"
	"walt/vnode/lan"
)

// Network is the one that machines are on.
type Network interface {
	// Able returns why no machine can be connected to it, in words for users; nil when one can.
	Able() error
	// Place is where a machine is on it: its address, for ever, and what it reaches from
	// there. Of one that does not run yet it says also why none may start there now.
	Place(ctx context.Context, mac ethernet.MAC, runs bool) (netboot.Machine, error)
	// Connect connects the machine of a node, whose files are in a directory, until the
	// cable is closed. One that runs and cannot be connected again is errCut.
	Connect(ctx context.Context, m netboot.Machine, dir string, runs bool) (Cable, error)
}

// errCut is the error of a machine that runs and has lost its network for good.
var errCut = errors.New("its connection to the network is gone")

// Cable connects a machine to a network.
type Cable struct {
	Tap   *os.File // for the machine; nil: it has sockets in its directory
	Close func()
}

// Private is a network inside of the server.
type Private struct {
	Subnet netip.Prefix
	Leases interface {
		Lease(context.Context, ethernet.MAC, netboot.Pool) (netip.Addr, error)
	}
	// LAN returns it, when it is there.
	LAN func(context.Context) (*lan.LAN, error)
}

// Able implements Network: it needs nothing.
func (Private) Able() error { return nil }

// Place implements Network.
func (p Private) Place(ctx context.Context, mac ethernet.MAC, _ bool) (netboot.Machine, error) {
	ip, err := p.Leases.Lease(ctx, mac, netboot.PoolOf(p.Subnet))
	server := lan.ServerOf(p.Subnet) // it is the way out, too, and answers names
	return netboot.Machine{IP: ip, Server: server, Net: p.Subnet, Router: server, DNS: server}, err
}

// Connect implements Network.
func (p Private) Connect(ctx context.Context, m netboot.Machine, dir string, runs bool) (Cable, error) {
	if _, err := os.Stat(filepath.Join(dir, wireSocket)); runs && errors.Is(err, os.ErrNotExist) {
		return Cable{}, errCut // it began on another network
	}
	network, err := p.LAN(ctx)
	if err != nil {
		return Cable{}, err
	}
	port, err := network.Connect(lan.Cable{
		Name: string(m.Name), MAC: m.MAC, IP: m.IP,
		Ours: filepath.Join(dir, switchSocket), Peer: filepath.Join(dir, wireSocket),
	})
	if err != nil {
		return Cable{}, err
	}
	return Cable{Close: port.Close}, nil
}

// Bridged is a bridge of the host, with boards and PCs on it.
type Bridged struct {
	Bridge  bridge.Name
	Segment interface {
		OnSegment(context.Context, ethernet.MAC) (netboot.Machine, error)
		Begins(context.Context) error
	}
}

// Able implements Network.
func (b Bridged) Able() error { return b.Bridge.Able() }

// Place implements Network.
func (b Bridged) Place(ctx context.Context, mac ethernet.MAC, runs bool) (netboot.Machine, error) {
	if !runs {
		if err := b.Segment.Begins(ctx); err != nil {
			return netboot.Machine{}, err
		}
	}
	return b.Segment.OnSegment(ctx, mac)
}

// Connect implements Network.
func (b Bridged) Connect(_ context.Context, m netboot.Machine, _ string, runs bool) (Cable, error) {
	if runs { // and has its tap
		err := b.Bridge.Reconnect(m.MAC)
		if errors.Is(err, os.ErrNotExist) {
			err = errCut
		}
		return Cable{Close: func() {}}, err
	}
	tap, err := b.Bridge.Connect(m.MAC)
	if err != nil {
		return Cable{}, err
	}
	return Cable{Tap: tap, Close: func() { tap.Close() }}, nil
}
