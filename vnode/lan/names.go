package lan

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// namesTTL is for how many seconds machines may remember the address of another.
	namesTTL = 5
	// askLimit is how long a resolver of the host may take.
	askLimit = 5 * time.Second
	dnsPort  = 53

	// serverName is what machines call the server.
	serverName = "server"
)

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
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		// An error means that the machine is gone.
		_ = w.WriteMsg(l.answer(w.RemoteAddr(), q))
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		g.Go(s.ActivateAndServe)
		g.Go(func() error {
			<-ctx.Done()
			return s.Shutdown()
		})
	}
	return g.Wait()
}

// answer returns what there is to say to a question of a machine. One that the host's
// resolvers are asked counts as a connection to the world.
func (l *LAN) answer(from net.Addr, q *dns.Msg) *dns.Msg {
	a := new(dns.Msg).SetReply(q)
	switch {
	case q.Opcode != dns.OpcodeQuery: // the host's resolvers trust what comes from it
		return a.SetRcode(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return a.SetRcode(q, dns.RcodeFormatError)
	}
	asked := q.Question[0]
	at, known := l.find(asked.Name)
	switch {
	case known && asked.Qtype == dns.TypeA:
		a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: namesTTL}, A: at.AsSlice()}}
		return a
	case known:
		return a
	case !l.world.open.Load():
		return a.SetRcode(q, dns.RcodeNameError)
	}
	who, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return a.SetRcode(q, dns.RcodeServerFailure)
	}
	ctx, leave := l.world.count(who.Addr().Unmap())
	if leave == nil {
		return a.SetRcode(q, dns.RcodeServerFailure)
	}
	defer leave()
	theirs, err := ask(ctx, q, from.Network() == "tcp")
	if err != nil {
		return a.SetRcode(q, dns.RcodeServerFailure)
	}
	return theirs
}

// find looks up a name, which ends in a dot.
func (l *LAN) find(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == serverName {
		return l.Server, true
	}
	return l.Lookup(name)
}

// ask passes a question on to the host's resolvers. An answer may be truncated, unless it
// has to be whole: a machine that asked by UDP asks again by TCP then.
func ask(ctx context.Context, q *dns.Msg, whole bool) (*dns.Msg, error) {
	c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return askOne(ctx, c, q, whole)
}

// askOne returns what the first of several resolvers answers that does.
func askOne(ctx context.Context, c *dns.ClientConfig, q *dns.Msg, whole bool) (*dns.Msg, error) {
	err := errors.New("the host has no resolver")
	for _, server := range c.Servers {
		at := net.JoinHostPort(server, c.Port)
		var a *dns.Msg
		a, _, err = new(dns.Client).ExchangeContext(ctx, q, at)
		if err == nil && a.Truncated && whole {
			a, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, q, at)
		}
		if err == nil {
			return a, nil
		}
	}
	return nil, err
}
