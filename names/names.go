// Package names answers what the machines of a network ask about names: DNS, RFC 1035.
// Which machines there are is not its business. Its one surprising rule: it knows the
// names of that network alone, and asks nobody about others unless it is told whom.
package names

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// Port is where it is asked, by UDP and TCP.
	Port = 53
	// ttl is for how many seconds machines may remember the address of another.
	ttl = 5
	// askLimit is how long a resolver may take.
	askLimit = 5 * time.Second

	// server is what machines call the server.
	server = "server"
	// reverse is the domain of the names of addresses, RFC 1035, section 3.5.
	reverse = ".in-addr.arpa"
)

// Network is who has which name on a network.
type Network struct {
	Net    netip.Prefix // IPv4; others are not answered
	Server netip.Addr   // this server on it
	Domain string       // that names may have behind them, as in lab.example; "" for none
	// Lookup finds the address of a machine by its name, in lower case.
	Lookup func(ctx context.Context, name string) (netip.Addr, bool)
	// Name finds the name of the machine with an address of Net; nil: addresses have none.
	Name func(context.Context, netip.Addr) (string, bool)
	// Alone says that nobody on the network reaches any other while there are no Resolvers:
	// to it names from there do not exist. Else they are refused, and somebody else may know.
	Alone bool
	// Resolvers returns who is asked about other names in the name of a machine, as
	// HOST:PORT, until ctx ends, and what to call then. That is nil when nobody is asked;
	// of no resolver the machine is told that they fail.
	Resolvers func(from netip.Addr) (ctx context.Context, all []string, leave func())
}

// Serve answers what comes from both sockets, until ctx ends.
func (n *Network) Serve(ctx context.Context, packets net.PacketConn, listener net.Listener) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		from, err := netip.ParseAddrPort(w.RemoteAddr().String())
		if err != nil || !n.Net.Contains(from.Addr().Unmap()) {
			return
		}
		// An error means that the machine is gone.
		_ = w.WriteMsg(n.answer(ctx, from.Addr().Unmap(), q, w.RemoteAddr().Network() == "tcp"))
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		failed := make(chan struct{})
		g.Go(func() error {
			defer close(failed)
			return s.ActivateAndServe()
		})
		g.Go(func() error {
			<-ctx.Done()
			select {
			case <-started:
				return s.Shutdown()
			case <-failed:
				return nil
			}
		})
	}
	return g.Wait()
}

// answer returns what there is to say to a question of a machine; whole says that an
// answer must not be truncated.
func (n *Network) answer(ctx context.Context, from netip.Addr, q *dns.Msg, whole bool) *dns.Msg {
	a := new(dns.Msg).SetReply(q)
	switch {
	case q.Opcode != dns.OpcodeQuery: // resolvers trust what comes from this host
		return a.SetRcode(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return a.SetRcode(q, dns.RcodeFormatError)
	}
	asked := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(asked.Name, "."))
	if asked.Qclass == dns.ClassINET {
		if record, ours := n.record(ctx, name, asked); ours {
			a.Authoritative = true
			if record != nil && record.Header().Rrtype == asked.Qtype {
				a.Answer = []dns.RR{record}
			}
			return a
		}
	}
	if n.within(name) {
		a.Authoritative = true
		return a.SetRcode(q, dns.RcodeNameError)
	}
	if theirs := n.ask(from, q, whole); theirs != nil {
		return theirs
	}
	if n.Alone || !strings.Contains(name, ".") { // the search for it is over
		return a.SetRcode(q, dns.RcodeNameError)
	}
	return a.SetRcode(q, dns.RcodeRefused)
}

// record is what is known of a name of this network, false when it is none: its address,
// or the name of an address; nil for a name that nothing has, but which leads to some.
func (n *Network) record(ctx context.Context, name string, asked dns.Question) (dns.RR, bool) {
	header := dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
	if ip, is := addressOf(name); is {
		host, known := n.nameOf(ctx, ip)
		if !known {
			return nil, false
		}
		header.Rrtype = dns.TypePTR
		return &dns.PTR{Hdr: header, Ptr: host}, true
	}
	if n.Domain != "" && name == n.Domain {
		return nil, true
	}
	host := name
	if n.Domain != "" {
		host = strings.TrimSuffix(name, "."+n.Domain)
	}
	ip, known := n.Server, host == server
	if !known {
		ip, known = n.Lookup(ctx, host)
	}
	if !known || !ip.Is4() {
		return nil, false
	}
	return &dns.A{Hdr: header, A: ip.AsSlice()}, true
}

// nameOf is the whole name of an address of the network.
func (n *Network) nameOf(ctx context.Context, ip netip.Addr) (string, bool) {
	if n.Name == nil || !n.Net.Contains(ip) {
		return "", false
	}
	host, known := server, ip == n.Server
	if !known {
		host, known = n.Name(ctx, ip)
	}
	if n.Domain != "" {
		host += "." + n.Domain
	}
	return dns.Fqdn(host), known
}

// within reports whether nobody but this server knows whether there is a name.
func (n *Network) within(name string) bool {
	if ip, is := addressOf(name); is {
		return n.Name != nil && n.Net.Contains(ip)
	}
	return n.Domain != "" && strings.HasSuffix(name, "."+n.Domain)
}

// addressOf is the address whose name a name leads to, false when it leads to none.
func addressOf(name string) (netip.Addr, bool) {
	digits, is := strings.CutSuffix(name, reverse)
	parts := strings.Split(digits, ".")
	if !is || len(parts) != 4 {
		return netip.Addr{}, false
	}
	var ip [4]byte
	for i, part := range parts {
		b, err := strconv.ParseUint(part, 10, 8)
		if err != nil || strconv.FormatUint(b, 10) != part {
			return netip.Addr{}, false
		}
		ip[3-i] = byte(b)
	}
	return netip.AddrFrom4(ip), true
}
