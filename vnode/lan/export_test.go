package lan

import (
	"context"
	"net"
	"net/netip"
)

// SetDial replaces the way to the world.
func (l *LAN) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	l.world.dial = dial
}

func (l *LAN) Reachable(a netip.Addr) bool { return l.world.reachable(a) }

// Dial is the way to the world.
func (l *LAN) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return l.world.dial(ctx, network, addr)
}
