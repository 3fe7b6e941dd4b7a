package lan_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gethernet "gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"walt/ethernet"
	"walt/vnode/lan"
)

const limit = time.Minute

var subnet = netip.MustParsePrefix("10.99.0.0/24")

// host is a machine on the network: a socket, and perhaps a TCP/IP stack.
type host struct {
	name string
	mac  ethernet.MAC
	ip   netip.Addr
	conn *net.UnixConn
	to   *net.UnixAddr
	port *lan.Port
	*stack.Stack
	frames atomic.Int64 // that its stack has received
}

// world is one network of a test, and what its log says.
type world struct {
	late atomic.Bool // see later
	*lan.LAN
	t   *testing.T
	dir string
	log *record
	n   byte
	mu  sync.Mutex // of all: names are asked for meanwhile
	all map[string]netip.Addr
}

type record struct {
	mu sync.Mutex
	bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "lan") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, log: new(record), all: map[string]netip.Addr{}}
	w.LAN, err = lan.New(lan.Config{
		Subnet: subnet, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Lookup: w.find, Guarded: func(a netip.Addr) bool { return a == guarded || a == later && w.late.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *world) find(name string) (netip.Addr, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.all[name]
	return a, ok
}

// plug connects a machine that only has a socket.
func (w *world) plug(name string) *host {
	w.t.Helper()
	w.n++
	h := &host{name: name, mac: ethernet.MAC(fmt.Sprintf("52:54:00:00:00:%02x", w.n)), ip: netip.AddrFrom4([4]byte{10, 99, 0, 10 + w.n})}
	w.mu.Lock()
	w.all[name] = h.ip
	w.mu.Unlock()
	peer := filepath.Join(w.dir, name)
	var err error
	if h.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: peer, Net: "unixgram"}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.conn.Close() })
	h.to = &net.UnixAddr{Name: peer + ".switch", Net: "unixgram"}
	if h.port, err = w.Connect(lan.Cable{Name: name, MAC: h.mac, IP: h.ip, Ours: h.to.Name, Peer: peer}); err != nil {
		w.t.Fatal(err)
	}
	return h
}

// boot connects a machine with a TCP/IP stack.
func (w *world) boot(name string) *host {
	w.t.Helper()
	h := w.plug(name)
	h.run(w.t)
	return h
}

func (h *host) run(t *testing.T) {
	t.Helper()
	h.Stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	wire := channel.New(512, 1514, h.link())
	if err := h.CreateNIC(1, gethernet.New(wire)); err != nil {
		t.Fatal(err)
	}
	a := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(h.ip.As4()), PrefixLen: subnet.Bits()}
	if err := h.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: a}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	gateway := tcpip.AddrFrom4(subnet.Addr().Next().As4())
	h.SetRouteTable([]tcpip.Route{{Destination: a.Subnet(), NIC: 1}, {Destination: header.IPv4EmptySubnet, Gateway: gateway, NIC: 1}})
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() {
		for {
			p := wire.ReadContext(ctx)
			if p == nil {
				return
			}
			view := p.ToView()
			h.send(view.AsSlice())
			view.Release()
			p.DecRef()
		}
	})
	loops.Go(func() {
		b := make([]byte, 2000)
		for {
			n, err := h.conn.Read(b)
			if err != nil {
				return
			}
			h.frames.Add(1)
			p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
			wire.InjectInbound(0, p)
			p.DecRef()
		}
	})
	t.Cleanup(func() {
		cancel()
		h.conn.Close()
		loops.Wait()
		h.Destroy()
	})
}

func (h *host) link() tcpip.LinkAddress {
	hw, err := net.ParseMAC(string(h.mac))
	if err != nil {
		panic(err)
	}
	return tcpip.LinkAddress(hw)
}

// send sends a frame as it is; one that is lost is what the test then finds.
func (h *host) send(frame []byte) { _, _ = h.conn.WriteToUnix(frame, h.to) }

func (h *host) dial(to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return gonet.DialContextTCP(ctx, h.Stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(to.Addr().As4()), Port: to.Port()}, ipv4.ProtocolNumber)
}

// echo serves what comes, back.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // the other side sees how far it came
			}()
		}
	}()
}

// says sends a text over a new connection and wants it back.
func says(t *testing.T, c net.Conn, err error, text string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c, text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%d bytes came back of %d, as they were: %v; %v", len(got), len(text), string(got) == text, err)
	}
}

func TestMachinesAndServerReachEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.boot("a"), w.boot("b")
	ours, err := w.Listen(2049)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ours)
	theirs, err := gonet.ListenTCP(b.Stack, tcpip.FullAddress{NIC: 1, Port: 22}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, theirs)
	much := strings.Repeat("0123456789abcdef", 1<<16) // more than the queues of a port hold
	c, err := a.dial(netip.AddrPortFrom(w.Server, 2049))
	says(t, c, err, much)
	c, err = a.dial(netip.AddrPortFrom(b.ip, 22))
	says(t, c, err, much)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err = w.DialContext(ctx, netip.AddrPortFrom(b.ip, 22))
	says(t, c, err, much)
}

// A machine may be connected while somebody tries to reach it already.
func TestDialBeforeItIsConnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for n := 11; ctx.Err() == nil; n++ {
		begun, failed := time.Now(), make(chan error, 1)
		go func() { // ends within some seconds
			_, err := w.DialContext(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(n)}), 22))
			failed <- err
		}()
		time.Sleep(200 * time.Millisecond) // it looks for the machine, for three seconds
		if a := w.boot(fmt.Sprint("m", n)); a.ip.As4()[3] != byte(n) {
			t.Fatalf("it is %s", a.ip)
		}
		late := time.Since(begun) > time.Second // on a busy machine: it is tried with another one
		// Nobody listens there: it is the machine that says so.
		err := <-failed
		if err != nil && strings.Contains(err.Error(), "refused") {
			return
		}
		if !late {
			t.Fatal(err)
		}
	}
	t.Error("it is never connected in time")
}

func TestNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.boot("a")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.ServeNames(ctx) }()
	send := func(network string, q *dns.Msg) *dns.Msg {
		t.Helper()
		for begun := time.Now(); ; {
			answer, err := exchange(a, w.Server, network, q)
			if err == nil {
				return answer
			}
			if time.Since(begun) > limit {
				t.Fatalf("%v: %v", q, err)
			}
		}
	}
	ask := func(network, name string, kind uint16) *dns.Msg {
		t.Helper()
		return send(network, new(dns.Msg).SetQuestion(name, kind))
	}
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]string{"a.": a.ip.String(), "SERVER.": w.Server.String()} {
			answer := ask(network, name, dns.TypeA)
			if len(answer.Answer) != 1 || answer.Answer[0].(*dns.A).A.String() != want {
				t.Errorf("%s by %s: %v", name, network, answer)
			}
		}
	}
	if answer := ask("udp", "a.", dns.TypeAAAA); answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 0 {
		t.Errorf("IPv6 of a machine: %v", answer)
	}
	if answer := ask("udp", "b.", dns.TypeA); answer.Rcode != dns.RcodeNameError {
		t.Errorf("a name that nobody has: %v", answer)
	}
	for _, opcode := range []int{dns.OpcodeNotify, dns.OpcodeUpdate} {
		order := new(dns.Msg).SetQuestion("a.", dns.TypeSOA)
		order.Opcode = opcode
		if answer := send("tcp", order); answer.Rcode != dns.RcodeNotImplemented {
			t.Errorf("%s: %v", dns.OpcodeToString[opcode], answer)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func question(h *host, server netip.Addr, network, name string, kind uint16) (*dns.Msg, error) {
	return exchange(h, server, network, new(dns.Msg).SetQuestion(name, kind))
}

func exchange(h *host, server netip.Addr, network string, q *dns.Msg) (*dns.Msg, error) {
	at := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(server.As4()), Port: 53}
	var c net.Conn
	var err error
	if network == "udp" {
		c, err = gonet.DialUDP(h.Stack, nil, &at, ipv4.ProtocolNumber)
	} else {
		c, err = h.dial(netip.AddrPortFrom(server, 53))
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	d := &dns.Conn{Conn: c}
	if err := d.WriteMsg(q); err != nil {
		return nil, err
	}
	return d.ReadMsg()
}
