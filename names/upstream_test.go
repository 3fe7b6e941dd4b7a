package names

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// resolvers listens as one resolver does by UDP and TCP, and as another one by UDP alone, at
// the same port of 127.0.0.1 and 127.0.0.2.
func resolvers(t *testing.T) (net.Listener, []net.PacketConn) {
	t.Helper()
	for tries := 1; ; tries++ {
		both, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := both.Addr().(*net.TCPAddr)
		first, err := net.ListenPacket("udp4", at.String())
		if err == nil {
			var second net.PacketConn
			if second, err = net.ListenPacket("udp4", (&net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: at.Port}).String()); err == nil {
				return both, []net.PacketConn{first, second}
			}
			first.Close()
		}
		both.Close()
		if tries == 20 { // the port was taken each time
			t.Fatal(err)
		}
	}
}

// An answer that is too long for a packet is asked for once more by TCP, when the machine
// asked by that; and of a resolver which does not answer so, the next one is asked.
func TestLongAnswerOfAResolver(t *testing.T) {
	t.Parallel()
	both, packets := resolvers(t)
	_, port, err := net.SplitHostPort(both.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 200)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		for range 10 {
			a.Answer = append(a.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}})
		}
		if w.RemoteAddr().Network() == "udp" {
			a.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(a) // the test misses what is lost
	})
	serve := func(s *dns.Server) {
		go s.ActivateAndServe() // ends with the test
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	for _, p := range packets {
		serve(&dns.Server{PacketConn: p, Handler: handler})
	}
	serve(&dns.Server{Listener: both, Handler: handler})

	q := new(dns.Msg).SetQuestion("long.example.", dns.TypeTXT)
	c := []string{net.JoinHostPort("127.0.0.2", port), net.JoinHostPort("127.0.0.1", port)}
	a, err := askOne(t.Context(), c, q, true)
	if err != nil || a.Truncated || len(a.Answer) != 10 {
		t.Errorf("by TCP: %v, %v", a, err)
	}
	a, err = askOne(t.Context(), c, q, false)
	if err != nil || !a.Truncated {
		t.Errorf("by UDP: %v, %v", a, err)
	}
	c = c[:1]
	if a, err := askOne(t.Context(), c, q, true); err == nil {
		t.Errorf("a part passes for the whole answer: %v", a)
	}
}
