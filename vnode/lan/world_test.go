package lan_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

var (
	outside = netip.MustParseAddrPort("192.0.2.7:80")
	guarded = netip.MustParseAddr("192.0.2.8")
	later   = netip.MustParseAddr("192.0.2.9") // is guarded, too, once world.late says so
)

// connect connects machine a of a network on which the world is here, and says
// where it wanted to.
func (w *world) here(t *testing.T) (asked chan string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from) // the test misses what is lost
		}
	}()
	asked = make(chan string, 1000)
	w.SetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
		asked <- network + " " + addr
		to := l.Addr()
		if network == "udp4" {
			to = u.LocalAddr()
		}
		return new(net.Dialer).DialContext(ctx, network, to.String())
	})
	return asked
}

func TestWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	asked := w.here(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/2) // nobody answers
	defer cancel()
	to := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(outside.Addr().As4()), Port: outside.Port()}
	if c, err := gonet.DialContextTCP(ctx, a.Stack, to, ipv4.ProtocolNumber); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed: %v, %v", c, err)
	}
	if len(asked) > 0 {
		t.Errorf("closed, and asked for %s", <-asked)
	}
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	c, err := a.dial(outside)
	says(t, c, err, "over TCP")
	u, err := gonet.DialUDP(a.Stack, nil, &to, ipv4.ProtocolNumber)
	says(t, u, err, "over UDP")
	got := map[string]bool{} // each may be asked for again, when an answer takes long
	for len(asked) > 0 {
		got[<-asked] = true
	}
	if want := map[string]bool{"tcp4 " + outside.String(): true, "udp4 " + outside.String(): true}; !maps.Equal(got, want) {
		t.Errorf("asked for %v", got)
	}
}

// What is guarded is asked for by nobody, over TCP or UDP.
func TestGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	asked := w.here(t)
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	if c, err := a.dial(netip.AddrPortFrom(guarded, 443)); err == nil {
		t.Errorf("reached: %v", c.RemoteAddr())
	}
	u, err := gonet.DialUDP(a.Stack, nil, &tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(guarded.As4()), Port: 623}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c, err := a.dial(outside) // which comes later
	says(t, c, err, "over TCP")
	if to := <-asked; to != "tcp4 "+outside.String() {
		t.Errorf("asked for %s", to)
	}
}

// What is open to an address that is guarded from then on ends, and nothing else.
func TestGuardedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	w.here(t)
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	open := func(to netip.Addr) net.Conn {
		t.Helper()
		c, err := a.dial(netip.AddrPortFrom(to, 443))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if _, err = io.WriteString(c, "x"); err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ends, stays := open(later), open(outside.Addr())
	w.late.Store(true)
	w.HangUpGuarded()
	_, err := ends.Read(make([]byte, 1))
	if late, is := errors.AsType[net.Error](err); err == nil || is && late.Timeout() {
		t.Errorf("it goes on: %v", err)
	}
	says(t, stays, nil, "nobody guards this")
}

// One side may say all that it has to before the other answers.
func TestHalfOfAConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	w.here(t)
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	c, err := a.dial(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "a question"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.(*gonet.TCPConn).CloseWrite(), c.SetDeadline(time.Now().Add(limit))); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "a question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Of one machine's flows there are not too many, and those that ended count no more.
func TestFlowsOfOneMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.boot("a"), w.boot("b")
	w.here(t)
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	for {
		c, err := a.dial(outside)
		if err != nil {
			break
		}
		if open = append(open, c); len(open) > 300 {
			t.Fatal("a machine may have any number of connections")
		}
	}
	c, err := b.dial(outside)
	says(t, c, err, "another machine")
	for _, c := range open {
		c.Close()
	}
	for begun := time.Now(); ; {
		c, err := a.dial(outside)
		if err == nil {
			says(t, c, err, "again")
			return
		}
		if time.Since(begun) > limit {
			t.Fatal(err)
		}
	}
}

// This host, whose services trust what comes from it, is not the world.
func TestThisHostIsNotTheWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	never := []netip.Addr{w.Server, subnet.Addr(), netip.IPv4Unspecified()}
	for _, s := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.99.0.77",
		"168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
	} {
		never = append(never, netip.MustParseAddr(s))
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if p := netip.MustParsePrefix(a.String()); p.Addr().Is4() {
			never = append(never, p.Addr())
		}
	}
	if i := slices.IndexFunc(never, w.Reachable); i >= 0 {
		t.Errorf("%s can be reached", never[i])
	}
	for _, s := range []string{"192.0.2.7", "9.9.9.9", "10.98.0.1", "192.168.77.5", "168.63.129.17", "100.100.100.201"} {
		if !w.Reachable(netip.MustParseAddr(s)) {
			t.Errorf("%s cannot be reached", s)
		}
	}
}

// Nor are those whom this host reaches all at once: it is one of them.
func TestEverybodyIsNotTheWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all = "127.255.255.255:9" // of the loopback interface, which each host has
	if c, err := w.Dial(t.Context(), "udp4", all); err == nil {
		c.Close()
		t.Errorf("%s can be reached", all)
	}
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := w.Dial(t.Context(), "udp4", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

// ends is a connection that tells of its end.
type ends struct {
	*net.TCPConn
	tell func()
}

func (e *ends) Close() error {
	defer e.tell()
	return e.TCPConn.Close()
}

// What a machine has open to the world ends with it, and keeps neither its next start nor
// the end of the network waiting, whether it accepted that or not.
func TestMachineThatIsGoneFromTheWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	ended := make(chan bool, 100)
	w.SetDial(func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		if err != nil {
			return nil, err
		}
		return &ends{c.(*net.TCPConn), sync.OnceFunc(func() { ended <- true })}, nil
	})
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	open, half := w.boot("open"), w.plug("half")
	c, err := open.dial(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // it is there
		t.Fatal(err)
	}
	half.greet(w.Server)
	begins := func(h *host) {
		h.send(h.segment(outside, 700, header.TCPFlagSyn, 1000, 0))
		for b := make([]byte, 2000); ; { // until it is asked to accept
			if err := h.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
			n, err := h.conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			ip := header.IPv4(b[header.EthernetMinimumSize:n])
			if header.Ethernet(b).Type() == header.IPv4ProtocolNumber && ip.TransportProtocol() == header.TCPProtocolNumber {
				return
			}
		}
	}
	begins(half)
	for _, h := range []*host{open, half} {
		if len(ended) > 0 {
			t.Error("a connection ends before its machine")
		}
		h.port.Close()
		select {
		case <-ended:
		case <-time.After(limit):
			t.Fatalf("the connection of the machine %s goes on without it", h.name)
		}
	}
	last := w.plug("last")
	last.greet(w.Server)
	begins(last)
	begun := time.Now()
	w.Close()
	if took := time.Since(begun); took > limit {
		t.Errorf("the end of the network takes %v", took)
	}
}
