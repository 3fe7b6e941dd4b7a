package lan_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const portNFS = 2049 // of the server that is besieged

// packet is a frame to the server's MAC with a packet of IPv4.
func (h *host) packet(target netip.Addr, protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize, header.EthernetMinimumSize+header.IPv4MinimumSize+len(payload))
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: h.link(), DstAddr: serverMAC, Type: header.IPv4ProtocolNumber})
	b = append(b, payload...)
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(h.ip.As4()), DstAddr: tcpip.AddrFrom4(target.As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return b
}

// segment is a frame with TCP.
func (h *host) segment(target netip.AddrPort, port uint16, flags header.TCPFlags, seq, ack uint32) []byte {
	b := make([]byte, header.TCPMinimumSize)
	s := header.TCP(b)
	s.Encode(&header.TCPFields{
		SrcPort: port, DstPort: target.Port(), SeqNum: seq, AckNum: ack, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 60000,
	})
	from, to := tcpip.AddrFrom4(h.ip.As4()), tcpip.AddrFrom4(target.Addr().As4())
	s.SetChecksum(^s.CalculateChecksum(header.PseudoHeaderChecksum(header.TCPProtocolNumber, from, to, uint16(len(b)))))
	return h.packet(target.Addr(), header.TCPProtocolNumber, b)
}

func (h *host) datagram(target netip.AddrPort, port uint16, payload []byte) []byte {
	b := append(make([]byte, header.UDPMinimumSize), payload...)
	u := header.UDP(b)
	u.Encode(&header.UDPFields{SrcPort: port, DstPort: target.Port(), Length: uint16(len(b))})
	from, to := tcpip.AddrFrom4(h.ip.As4()), tcpip.AddrFrom4(target.Addr().As4())
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, from, to, uint16(len(b)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(payload, sum)))
	return h.packet(target.Addr(), header.UDPProtocolNumber, b)
}

// greet has the server know the machine's MAC.
func (h *host) greet(server netip.Addr) {
	b := arpFrame(h.link(), h.link(), h.ip)
	a := header.ARP(b[header.EthernetMinimumSize:])
	a.SetOp(header.ARPRequest)
	copy(a.ProtocolAddressTarget(), server.AsSlice())
	h.send(b)
}

// A connection that is reset before it is accepted has no address that the stack
// still knows: it is nobody's, and the next one is accepted.
func TestResetBeforeItIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil, good := w.plug("evil"), w.boot("good")
	l, err := w.Listen(portNFS)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.AddrPortFrom(w.Server, portNFS)
	evil.greet(w.Server)
	evil.send(evil.segment(at, 700, header.TCPFlagSyn, 1000, 0))
	if err := evil.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 2000); ; {
		n, err := evil.conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		ip := header.IPv4(b[header.EthernetMinimumSize:n])
		if header.Ethernet(b).Type() != header.IPv4ProtocolNumber || ip.TransportProtocol() != header.TCPProtocolNumber {
			continue
		}
		answer := header.TCP(ip.Payload())
		evil.send(evil.segment(at, 700, header.TCPFlagAck, 1001, answer.SequenceNumber()+1))
		evil.send(evil.segment(at, 700, header.TCPFlagRst|header.TCPFlagAck, 1001, answer.SequenceNumber()+1))
		break
	}
	c, err := good.dial(at) // it comes to the server after those
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if from := got.RemoteAddr(); from == nil || !strings.HasPrefix(from.String(), good.ip.String()+":") {
		t.Errorf("accepted one from %v", from)
	}
}

// about is a frame with ICMP that tells of a connection of the server with another machine.
func (h *host) about(code header.ICMPv4Code, server netip.AddrPort, other netip.AddrPort) []byte {
	connection := (&host{mac: h.mac, ip: server.Addr()}).segment(other, server.Port(), header.TCPFlagAck, 1, 1)[header.EthernetMinimumSize:]
	b := append(make([]byte, header.ICMPv4MinimumSize), connection...)
	m := header.ICMPv4(b)
	m.SetType(header.ICMPv4DstUnreachable)
	m.SetCode(code)
	m.SetChecksum(^checksum.Checksum(b, 0))
	return h.packet(server.Addr(), header.ICMPv4ProtocolNumber, b)
}

// What a machine tells of the connections of others is not believed, to whomever it sends
// that: they have packets as large as before. It may ping the server.
func TestNewsOfConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil, good := w.plug("evil"), w.boot("good")
	l, err := w.Listen(portNFS)
	if err != nil {
		t.Fatal(err)
	}
	stream(t, l)
	at := netip.AddrPortFrom(w.Server, portNFS)
	c, err := good.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := neighbour{t, c}
	n.reads(1)
	other := netip.MustParseAddrPort(c.LocalAddr().String())
	evil.greet(w.Server)
	for _, code := range []header.ICMPv4Code{header.ICMPv4FragmentationNeeded, header.ICMPv4PortUnreachable, header.ICMPv4HostUnreachable} {
		b := evil.about(code, at, other)
		evil.send(b)
		evil.send(changed(b, func(b []byte) { copy(b, everybody) }))
		evil.send(changed(b, func(b []byte) { copy(b, everybody); copy(b[header.EthernetMinimumSize+16:], good.ip.AsSlice()) }))
	}
	ping := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize))
	ping.SetType(header.ICMPv4Echo)
	ping.SetChecksum(^checksum.Checksum(ping, 0))
	evil.send(evil.packet(w.Server, header.ICMPv4ProtocolNumber, ping))
	if err := evil.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 2000); ; { // it is answered after all that came before
		size, err := evil.conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		ip := header.IPv4(b[header.EthernetMinimumSize:size])
		if header.Ethernet(b).Type() == header.IPv4ProtocolNumber && ip.TransportProtocol() == header.ICMPv4ProtocolNumber {
			break
		}
	}
	before := good.frames.Load()
	n.reads(1)
	if frames := good.frames.Load() - before; frames > 10_000 {
		t.Errorf("a million bytes come in %d frames", frames)
	}
	if strings.Contains(w.log.String(), "may not") {
		t.Errorf("the log says %s", w.log)
	}
}

// One machine has only so many connections to a port; those that are closed count no more.
func TestConnectionsOfOneMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	greedy, other := w.boot("greedy"), w.boot("other")
	l, err := w.Listen(portNFS)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	at := netip.AddrPortFrom(w.Server, portNFS)
	answers := func(c net.Conn, err error) bool {
		if err == nil {
			_, err = io.WriteString(c, "x")
		}
		if err == nil {
			err = c.SetReadDeadline(time.Now().Add(limit))
		}
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		return err == nil
	}
	var open []net.Conn
	for {
		c, err := greedy.dial(at)
		if !answers(c, err) {
			break
		}
		if open = append(open, c); len(open) > 100 {
			t.Fatal("a machine may have any number of connections")
		}
	}
	c, err := other.dial(at)
	says(t, c, err, "another machine")
	for _, c := range open {
		c.Close()
	}
	for begun := time.Now(); ; {
		if c, err := greedy.dial(at); answers(c, err) {
			return
		}
		if time.Since(begun) > limit {
			t.Fatal("connections that were closed still count")
		}
	}
}

// stream serves as many bytes as it is asked for, in millions.
func stream(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var many [1]byte
				block := make([]byte, 1_000_000)
				for {
					if _, err := io.ReadFull(c, many[:]); err != nil {
						return
					}
					for range many[0] {
						if _, err := c.Write(block); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
}

// neighbour is one that wants its files, and answers.
type neighbour struct {
	t    *testing.T
	conn net.Conn
}

// reads is how long the neighbour takes to read so many millions of bytes.
func (n neighbour) reads(millions byte) time.Duration {
	n.t.Helper()
	begun := time.Now()
	if err := n.conn.SetDeadline(begun.Add(3 * limit)); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.conn.Write([]byte{millions}); err != nil {
		n.t.Fatal(err)
	}
	if got, err := io.CopyN(io.Discard, n.conn, int64(millions)*1_000_000); err != nil {
		n.t.Fatalf("%d bytes, %v", got, err)
	}
	return time.Since(begun)
}

// asks is how long the neighbour takes to learn a name.
func (w *world) asks(h *host) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for {
		if a, err := question(h, w.Server, "udp", "good.", dns.TypeA); err == nil && len(a.Answer) == 1 {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			w.t.Fatal("names are not answered")
		}
	}
}

// Whatever one machine sends as fast as it can, another one gets its files, and the
// server keeps little of it and says little about it.
func TestSiege(t *testing.T) {
	w := newWorld(t)
	if err := w.SetNAT(true); err != nil {
		t.Fatal(err)
	}
	w.SetDial(func(ctx context.Context, _, _ string) (net.Conn, error) { // a world that never answers
		<-ctx.Done()
		return nil, ctx.Err()
	})
	good := w.boot("good")
	l, err := w.Listen(portNFS)
	if err != nil {
		t.Fatal(err)
	}
	stream(t, l)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.ServeNames(ctx) // its end is of no interest here
	at, names := netip.AddrPortFrom(w.Server, portNFS), netip.AddrPortFrom(w.Server, 53)
	c, err := good.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := neighbour{t, c}
	q, err := new(dns.Msg).SetQuestion("nobody.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	// What may be of use to somebody is not slowed down.
	free := map[string]bool{"the world by UDP": true, "the neighbour": true, "pieces": true}
	port := func() uint16 { return uint16(1 + rand.IntN(65535)) }
	for name, next := range map[string]func(evil *host) []byte{
		"MAC addresses": func(e *host) []byte {
			from := tcpip.LinkAddress(fmt.Sprintf("\x52\x54%04d", rand.IntN(10000)))
			return frame(from, good.link(), e.ip, good.ip, 1, 2)
		},
		"IPv6": func(e *host) []byte {
			return changed(e.datagram(at, 1, nil), func(b []byte) { b[12], b[13] = 0x86, 0xdd })
		},
		"jumbo frames":     func(e *host) []byte { return make([]byte, 9000) },
		"half connections": func(e *host) []byte { return e.segment(at, port(), header.TCPFlagSyn, rand.Uint32(), 0) },
		"no connections":   func(e *host) []byte { return e.segment(at, port(), header.TCPFlagAck, rand.Uint32(), rand.Uint32()) },
		"other ports": func(e *host) []byte {
			return e.segment(netip.AddrPortFrom(w.Server, port()), port(), header.TCPFlagSyn, 1, 0)
		},
		"the world":          func(e *host) []byte { return e.segment(outside, port(), header.TCPFlagSyn, 1, 0) },
		"the world by UDP":   func(e *host) []byte { return e.datagram(outside, port(), q) },
		"questions":          func(e *host) []byte { return e.datagram(names, port(), q) },
		"packets for nobody": func(e *host) []byte { return e.datagram(at, port(), make([]byte, 1400)) },
		"pieces": func(e *host) []byte {
			return changed(e.datagram(at, 1, make([]byte, 1400)), func(b []byte) {
				ip := header.IPv4(b[header.EthernetMinimumSize:])
				ip.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 8*uint16(rand.IntN(4000)))
				ip.SetID(uint16(rand.IntN(65536)))
				ip.SetChecksum(0)
				ip.SetChecksum(^ip.CalculateChecksum())
			})
		},
		"the neighbour": func(e *host) []byte {
			return changed(e.datagram(netip.AddrPortFrom(good.ip, 9), 1, make([]byte, 1400)), func(b []byte) { copy(b, good.link()) })
		},
		"everybody": func(e *host) []byte {
			return frame(e.link(), everybody, e.ip, netip.MustParseAddr("10.99.0.255"), 1, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			evil := w.plug("evil-" + strings.ReplaceAll(name, " ", "-"))
			evil.greet(w.Server)
			go io.Copy(io.Discard, evil.conn) // until the end of the test
			before, goroutines := memory(), runtime.NumGoroutine()
			alone := n.reads(3)
			over := make(chan struct{})
			var flood sync.WaitGroup
			sent, begun := 0, time.Now()
			flood.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
						evil.send(next(evil))
						sent++
					}
				}
			})
			beside, asked := n.reads(3), w.asks(good)
			// Until there is more than may come at once; again, when this machine was busy with other things.
			for waits := 20*alone + time.Second; time.Since(begun) < time.Second || beside > waits && time.Since(begun) < limit; {
				beside, asked = min(beside, n.reads(3)), min(asked, w.asks(good))
			}
			close(over)
			flood.Wait()
			took := time.Since(begun)
			more, most := memory()-before, 3100+1600*took.Seconds() // the limits, of what begins and of what is for nothing
			t.Logf("3 MB take %v alone and %v beside %d frames in %v, a question %v; %d goroutines and %d MB more",
				alone, beside, sent, took, asked, runtime.NumGoroutine()-goroutines, more>>20)
			if more > 32<<20 {
				t.Errorf("the server keeps %d bytes of it", more)
			}
			if runtime.NumGoroutine() > goroutines+300 {
				t.Errorf("%d goroutines are busy with it", runtime.NumGoroutine())
			}
			if !free[name] && float64(sent) > most {
				t.Errorf("%d frames are taken in %v", sent, took)
			}
			if beside > 20*alone+time.Second {
				t.Errorf("a neighbour waits %v instead of %v", beside, alone)
			}
		})
	}
	if lines := strings.Count(w.log.String(), "\n"); lines > 13 {
		t.Errorf("the log has %d lines", lines)
	}
}

// memory is how many bytes are in use.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
