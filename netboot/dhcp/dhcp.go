// Package dhcp tells the machines of a network their addresses, and iPXE what it runs:
// RFC 2131 and 2132; or the latter alone, beside a server that gives the addresses: PXE
// 2.1. Packets come in and answers go out; which network that is, and who is on it, is not
// its business. Its one surprising rule: only who is known is answered, always with the
// same address. It keeps nothing, and does no harm to others.
package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"walt/ethernet"
)

const (
	// lease is for how long a machine may use its address without asking again.
	lease = 24 * time.Hour
	// mostPacket is how large, in bytes, a packet of a client is at most.
	mostPacket = 1500

	serverPort, clientPort = 67, 68
)

// Host is who asks, as the lab knows it.
type Host struct {
	Name   string
	IP     netip.Addr
	Net    netip.Prefix
	Server netip.Addr // this server on that network
	// Router is the way out of it, DNS who answers names: the zero Addr when there is none.
	Router, DNS netip.Addr
	Domain      string     // behind the names there, "" for none
	Time        netip.Addr // who tells the time, the zero Addr when nobody does
	// Script is the URL of what iPXE runs, "" when there is nothing to boot.
	Script string
	// Loader is the file that other firmware gets from the server by TFTP, or the URL of it
	// for firmware that loads by HTTP; "" for none.
	Loader string
	// Menu is for the ROM of a Raspberry Pi: the words that it looks for in an answer, see
	// menu; "" for others.
	Menu string
	// Delay is how long it is waited before an offer: some firmware misses what comes at once.
	Delay time.Duration
}

// Client is who asks, as it tells. All of that but the MAC address may be anything.
type Client struct {
	MAC   ethernet.MAC
	Name  string   // that it gives itself; "" when it does not
	Class string   // of its vendor, as in PXEClient:Arch:00007:UNDI:003016; "" when it tells none
	Users []string // classes of its user
	Arch  []uint16 // of its firmware, RFC 4578, section 2.1, and later ones; nil when it does not tell, by its class neither
	GUID  []byte   // of the machine, as in RFC 4578, section 2.3, without its type; nil when it does not tell
	// Discovers says that it looks for an address, rather than for more about one that it has.
	Discovers bool
}

// Boots reports whether who asks is about to boot: it looks for more than an address, as no
// operating system does.
func (c Client) Boots() bool {
	boots := func(class string) bool {
		return slices.ContainsFunc([]string{"PXEClient", HTTPClient, "U-Boot", "iPXE", "walt.node."}, func(p string) bool { return strings.HasPrefix(class, p) })
	}
	return len(c.Arch) > 0 || boots(c.Class) || slices.ContainsFunc(c.Users, boots)
}

// Hosts knows who is on the network.
type Hosts interface {
	Host(context.Context, Client) (Host, bool)
}

// Server answers the machines of one network.
type Server struct {
	Hosts Hosts
	// Proxy has it tell firmware what to boot, and nobody an address: another server on
	// the network does that.
	Proxy bool
	// Chosen is told when a client takes its address from another server; nil: it is not.
	Chosen func(server netip.Addr)
	// Ask asks the network who has an address, before that is offered with a delay; nil: it
	// does not. Nobody waits for an answer.
	Ask func(netip.Addr) error
	Log *slog.Logger

	mu      sync.Mutex
	pending map[pending]bool // questions, until there is an answer

	open atomic.Int64 // questions, until their answers are sent
}

// pending is a question, and all that repeat it.
type pending struct {
	mac ethernet.MAC
	id  dhcpv4.TransactionID
}

// mostOpen is how many questions are open at once: who asks beyond that asks again.
const mostOpen = 4096

// answer is one to a packet; with an empty packet there is none.
type answer struct {
	packet []byte
	to     net.Addr
	offers netip.Addr // the zero Addr: none
	delay  time.Duration
}

// Serve answers what comes from conn, a socket of port 67 that may send to everybody,
// until that is closed.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, func(q *dhcpv4.DHCPv4, _ net.Addr) answer {
		p, to, h := s.answer(ctx, q)
		return answer{p, net.UDPAddrFromAddrPort(to), h.IP, h.Delay}
	})
}

// serve sends the answers to what comes from conn, until that is closed. Nobody waits for
// another one, of whom it may take a while to know who it is.
func (s *Server) serve(ctx context.Context, conn net.PacketConn, answers func(q *dhcpv4.DHCPv4, from net.Addr) answer) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ctx, cancel := context.WithCancel(ctx)
	var answering sync.WaitGroup
	defer answering.Wait()
	defer cancel()
	b := make([]byte, mostPacket)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil && (ctx.Err() != nil || errors.Is(err, net.ErrClosed)) {
			return nil
		}
		if err != nil {
			return err
		}
		q := question(b[:n])
		if q == nil || !s.begin(q) {
			continue
		}
		answering.Go(func() { // ends when it is known who asks, and with the delay of the answer, or with ctx
			defer s.open.Add(-1)
			a := answers(q, from)
			s.end(q)
			switch {
			case a.packet == nil:
			case a.delay == 0:
				s.send(ctx, conn, a)
			default:
				s.sendLate(ctx, conn, a)
			}
		})
	}
}

// begin notes that a question is open; false: there are too many, or it was asked before and
// has no answer yet.
func (s *Server) begin(q *dhcpv4.DHCPv4) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := pendingOf(q)
	if s.pending[one] || s.open.Load() >= mostOpen {
		return false
	}
	if s.pending == nil {
		s.pending = map[pending]bool{}
	}
	s.pending[one] = true
	s.open.Add(1)
	return true
}

// end notes that there is an answer to a question, which stays open until that is sent.
func (s *Server) end(q *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, pendingOf(q))
}

func pendingOf(q *dhcpv4.DHCPv4) pending {
	return pending{ethernet.MAC(q.ClientHWAddr.String()), q.TransactionID}
}

func (s *Server) send(ctx context.Context, conn net.PacketConn, a answer) {
	if _, err := conn.WriteTo(a.packet, a.to); err != nil && ctx.Err() == nil {
		s.Log.Warn("answer a machine that asks for its address", "to", a.to, "err", err) // it asks again
	}
}

// sendLate sends an answer after its delay, at the beginning of which the network is asked
// who has the address, as ROMs expect it of a server.
func (s *Server) sendLate(ctx context.Context, conn net.PacketConn, a answer) {
	if s.Ask != nil && a.offers.IsValid() {
		if err := s.Ask(a.offers); err != nil {
			s.Log.Warn("ask who has an address", "ip", a.offers, "err", err)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(a.delay):
		s.send(ctx, conn, a)
	}
}

// answer returns the answer to a question, nil when there is none, where it goes, and for whom
// it is: without a delay, unless it is an offer.
func (s *Server) answer(ctx context.Context, q *dhcpv4.DHCPv4) (b []byte, to netip.AddrPort, h Host) {
	if s.Proxy && q.MessageType() != dhcpv4.MessageTypeDiscover {
		return nil, to, h
	}
	if s.Chosen != nil && q.MessageType() == dhcpv4.MessageTypeRequest {
		if other, is := netip.AddrFromSlice(q.ServerIdentifier().To4()); is {
			s.Chosen(other)
		}
	}
	if s.Proxy {
		a, h := s.point(ctx, q, dhcpv4.MessageTypeOffer)
		if a == nil || !h.reaches(h.target(q, a)) {
			return nil, to, h
		}
		return a.ToBytes(), h.target(q, a), h
	}
	h, known := s.Hosts.Host(ctx, client(q))
	if !known {
		return nil, to, h
	}
	kind := h.answers(q)
	if kind == dhcpv4.MessageTypeNone {
		return nil, to, h
	}
	a := h.reply(q, kind)
	if a == nil || !h.reaches(h.target(q, a)) {
		return nil, to, h
	}
	if kind != dhcpv4.MessageTypeNak {
		h.tell(q, a)
	}
	if kind != dhcpv4.MessageTypeOffer {
		h.Delay = 0
	}
	return a.ToBytes(), h.target(q, a), h
}

// question is what a client on Ethernet asks, nil when a packet is none of that.
func question(packet []byte) *dhcpv4.DHCPv4 {
	q, err := dhcpv4.FromBytes(packet)
	if err != nil || q.OpCode != dhcpv4.OpcodeBootRequest || q.HWType != iana.HWTypeEthernet || len(q.ClientHWAddr) != 6 {
		return nil
	}
	if _, err := ethernet.ParseMAC(q.ClientHWAddr.String()); err != nil {
		return nil
	}
	return q
}
