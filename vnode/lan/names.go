package lan

import (
	"context"
	"net/netip"

	"walt/names"
)

const dnsPort = names.Port

// ServeNames answers what machines ask about names, by UDP and TCP, until ctx ends:
// those of other machines, "server", and what the host's resolvers know while
// machines may reach the world.
func (l *LAN) ServeNames(ctx context.Context) error {
	packets, err := l.ListenPacket(dnsPort)
	if err != nil {
		return err
	}
	listener, err := l.Listen(dnsPort)
	if err != nil {
		packets.Close()
		return err
	}
	n := names.Network{
		Net: l.Subnet, Server: l.Server, Alone: true, Resolvers: l.resolvers,
		Lookup: func(_ context.Context, name string) (netip.Addr, bool) { return l.Lookup(name) },
	}
	return n.Serve(ctx, packets, listener)
}

// resolvers are those of the host, for a machine that may reach the world: a question
// counts as a connection to that.
func (l *LAN) resolvers(from netip.Addr) (context.Context, []string, func()) {
	if !l.world.open.Load() {
		return nil, nil, nil
	}
	ctx, leave := l.world.count(from)
	if leave == nil { // it has too many
		return l.world.ctx, nil, func() {}
	}
	all, err := names.HostResolvers()
	if err != nil {
		l.Log.Warn("look which resolvers the host has", "err", err)
	}
	return ctx, all, leave
}
