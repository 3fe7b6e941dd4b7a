package boards

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"walt/crowd"
	"walt/names"
	"walt/nodes"
	"walt/pause"
)

// Questions about names of others that the resolver of the configuration is asked at once:
// of one device, and of all.
const questionsEach, questions = 32, 512

// namesTrouble is the key of what keeps devices from knowing each other's names.
const namesTrouble = "names"

// serveNames answers what devices ask about names, until ctx ends. Where it cannot, they
// boot all the same, and it tries again.
func (b *boards) serveNames(ctx context.Context) {
	for told := ""; ; {
		err := b.openNames(ctx)
		b.named.Store(false)
		if ctx.Err() != nil {
			return
		}
		if why := fmt.Sprint(err); why != told {
			b.Log.Error("devices do not learn each other's names from here; it is tried again every minute", "network", b.Net, "err", err)
			b.Lab.Troubled(ctx, namesTrouble, nodes.Trouble{Text: "devices do not learn each other's names: " + why})
			told = why
		}
		if pause.For(ctx, beginAgain) != nil {
			return
		}
	}
}

func (b *boards) openNames(ctx context.Context) error {
	packets, err := b.on.ListenUDP(names.Port)
	if err != nil {
		return unopened(names.Port, err)
	}
	listener, err := b.on.Listen(names.Port)
	if err != nil {
		packets.Close()
		return unopened(names.Port, err)
	}
	b.named.Store(true)
	b.Lab.Calmed(namesTrouble)
	n := names.Network{Net: b.Net, Server: b.Segment.Server, Domain: b.Domain, Lookup: b.addressOf, Name: b.nameAt}
	if b.DNS.IsValid() && b.DNS != b.Segment.Server {
		n.Resolvers = b.resolvers(ctx)
	}
	return n.Serve(ctx, packets, listener)
}

// dns is who answers devices what they ask about names, the zero Addr when nobody does.
func (b *boards) dns() netip.Addr {
	if b.named.Load() {
		return b.Segment.Server
	}
	return b.DNS
}

// addressOf finds the address of a node on the segment: the one that it booted from, or
// else has a lease of.
func (b *boards) addressOf(ctx context.Context, name string) (netip.Addr, bool) {
	if ip, found := b.Boots.Find(name); found && b.Net.Contains(ip) {
		return ip, true
	}
	d, here, err := b.Lab.Called(ctx, nodes.Name(name))
	if err != nil || !here || b.DHCP != Full {
		return netip.Addr{}, false
	}
	ip, err := b.Boots.Leased(ctx, d.MAC)
	return ip, err == nil && b.Net.Contains(ip)
}

// nameAt finds the name of who has an address of the segment.
func (b *boards) nameAt(ctx context.Context, ip netip.Addr) (string, bool) {
	if n, runs := b.Boots.NodeAt(ip); runs {
		return string(n), true
	}
	if b.DHCP != Full { // nobody else is known here
		return "", false
	}
	n, here := b.Called(ctx, ip)
	return string(n), here
}

// resolvers has the resolver of the configuration asked, of each device only so much at
// once.
func (b *boards) resolvers(ctx context.Context) func(netip.Addr) (context.Context, []string, func()) {
	all := []string{net.JoinHostPort(b.DNS.String(), fmt.Sprint(names.Port))}
	asking := crowd.New(questionsEach, questions)
	return func(from netip.Addr) (context.Context, []string, func()) {
		if !asking.Enter(from) {
			return ctx, nil, func() {}
		}
		return ctx, all, func() { asking.Leave(from) }
	}
}
