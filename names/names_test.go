package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// office is a network with one machine beside the server.
func office() *Network {
	at := netip.MustParseAddr("192.168.7.100")
	return &Network{
		Net: netip.MustParsePrefix("192.168.7.0/24"), Server: netip.MustParseAddr("192.168.7.1"), Domain: "lab.example",
		Lookup: func(_ context.Context, name string) (netip.Addr, bool) { return at, name == "pc-1" },
		Name:   func(_ context.Context, ip netip.Addr) (string, bool) { return "pc-1", ip == at },
	}
}

// said is an answer, in short.
func said(a *dns.Msg) string {
	s := dns.RcodeToString[a.Rcode]
	if a.Authoritative {
		s += " sure"
	}
	for _, r := range a.Answer {
		s += " " + strings.TrimPrefix(r.String(), r.Header().String())
	}
	return s
}

// Nodes and the server have names, with the domain and without, and their addresses lead
// back to these; names of others are refused, or asked of who knows them.
func TestAnswers(t *testing.T) {
	t.Parallel()
	ask := func(n *Network, name string, kind uint16) string {
		return said(n.answer(t.Context(), netip.MustParseAddr("192.168.7.100"), new(dns.Msg).SetQuestion(name, kind), false))
	}
	for what, n := range map[string]*Network{"with a domain": office(), "without": office(), "alone": office(), "with a resolver that fails": office()} {
		pc, back := "pc-1.lab.example.", "pc-1.lab.example."
		switch what {
		case "without":
			n.Domain, pc, back = "", "pc-1.", "pc-1."
		case "alone":
			n.Alone = true
		case "with a resolver that fails":
			n.Resolvers = func(netip.Addr) (context.Context, []string, func()) { return t.Context(), nil, func() {} }
		}
		theirs, single := "REFUSED", "NXDOMAIN"
		if n.Alone {
			theirs = "NXDOMAIN"
		}
		if n.Resolvers != nil {
			theirs, single = "SERVFAIL", "SERVFAIL"
		}
		for _, c := range []struct {
			name string
			kind uint16
			want string
		}{
			{"pc-1.", dns.TypeA, "NOERROR sure 192.168.7.100"},
			{pc, dns.TypeA, "NOERROR sure 192.168.7.100"},
			{strings.ToUpper(pc), dns.TypeA, "NOERROR sure 192.168.7.100"},
			{pc, dns.TypeAAAA, "NOERROR sure"},
			{"server.", dns.TypeA, "NOERROR sure 192.168.7.1"},
			{"100.7.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR sure " + back},
			{"100.7.168.192.in-addr.arpa.", dns.TypeA, "NOERROR sure"},
			{"1.7.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR sure server" + strings.TrimPrefix(back, "pc-1")},
			{"2.7.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN sure"},
			{"1.8.168.192.in-addr.arpa.", dns.TypePTR, theirs},
			{"100.7.168.192.1.in-addr.arpa.", dns.TypePTR, theirs},
			{"0100.7.168.192.in-addr.arpa.", dns.TypePTR, theirs},
			{"pc-2.", dns.TypeA, single},
			{"www.example.", dns.TypeA, theirs},
			{"pc-1.lab.example.org.", dns.TypeA, theirs},
			{".", dns.TypeNS, single},
		} {
			if got := ask(n, c.name, c.kind); got != c.want {
				t.Errorf("%s: %s %s is %s, want %s", what, c.name, dns.TypeToString[c.kind], got, c.want)
			}
		}
		if n.Domain == "" {
			continue
		}
		for name, want := range map[string]string{"pc-2.lab.example.": "NXDOMAIN sure", "x.pc-1.lab.example.": "NXDOMAIN sure", "lab.example.": "NOERROR sure"} {
			if got := ask(n, name, dns.TypeA); got != want {
				t.Errorf("%s: %s is %s, want %s", what, name, got, want)
			}
		}
	}
}

// Whoever is not of the network gets no answer, by either protocol.
func TestServe(t *testing.T) {
	t.Parallel()
	for net4, answered := range map[string]bool{"127.0.0.0/8": true, "192.168.7.0/24": false} {
		packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n := office()
		n.Net = netip.MustParsePrefix(net4)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Serve(ctx, packets, listener) }()
		wait := 20 * time.Second
		if !answered {
			wait = 100 * time.Millisecond // what is not there needs no longer
		}
		for network, at := range map[string]net.Addr{"udp": packets.LocalAddr(), "tcp": listener.Addr()} {
			a, _, err := (&dns.Client{Net: network, Timeout: wait}).Exchange(new(dns.Msg).SetQuestion("server.", dns.TypeA), at.String())
			got := fmt.Sprint(err)
			if err == nil {
				got = said(a)
			}
			if (got == "NOERROR sure 192.168.7.1") != answered {
				t.Errorf("of %s by %s: %s", net4, network, got)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v", err)
		}
	}
}

// Whatever is asked, the answer is one, and can be sent.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"pc-1.", "server.lab.example.", "100.7.168.192.in-addr.arpa.", "www.example."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	n := office()
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		a := n.answer(t.Context(), n.Server, q, false)
		if b, err := a.Pack(); err != nil || len(b) == 0 || !a.Response || a.Id != q.Id {
			t.Errorf("%v is answered %v, %v", q, a, err)
		}
		for _, r := range a.Answer {
			if rr, is := r.(*dns.A); is && !n.Net.Contains(netip.AddrFrom4([4]byte(rr.A.To4()))) {
				t.Errorf("%v leads out of the network: %v", q, a)
			}
		}
	})
}
