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
	"strconv"
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

// reply is an answer of a kind that says nothing yet, nil when there is none.
func (h Host) reply(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(h.Server.AsSlice())))
	if err != nil {
		return nil
	}
	return a
}

// client is who asks a question.
func client(q *dhcpv4.DHCPv4) Client {
	c := Client{MAC: ethernet.MAC(q.ClientHWAddr.String()), Name: q.HostName(), Class: q.ClassIdentifier(), Users: q.UserClass(), Discovers: q.MessageType() == dhcpv4.MessageTypeDiscover}
	if id := q.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) > 1 && id[0] == 0 {
		c.GUID = id[1:]
	}
	for _, a := range q.ClientArch() {
		c.Arch = append(c.Arch, uint16(a))
	}
	if a, told := archOf(c.Class); told && c.Arch == nil {
		c.Arch = []uint16{a}
	}
	return c
}

// archOf returns the architecture of firmware that its class names, as in
// PXEClient:Arch:00007:UNDI:003016, and whether it does.
func archOf(class string) (arch uint16, told bool) {
	words := strings.Split(class, ":")
	if len(words) < 3 || words[0] != "PXEClient" && words[0] != HTTPClient || words[1] != "Arch" {
		return 0, false
	}
	a, err := strconv.ParseUint(words[2], 10, 16)
	return uint16(a), err == nil
}

// answers is the kind of the answer to a packet; none: it is not for this server.
func (h Host) answers(q *dhcpv4.DHCPv4) dhcpv4.MessageType {
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeInform:
		return dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeRequest:
	default:
		return dhcpv4.MessageTypeNone
	}
	if chosen := q.ServerIdentifier(); chosen != nil && !chosen.Equal(h.Server.AsSlice()) {
		return dhcpv4.MessageTypeNone // another server
	}
	wanted := q.RequestedIPAddress()
	if wanted == nil {
		wanted = q.ClientIPAddr
	}
	if !wanted.Equal(h.IP.AsSlice()) {
		return dhcpv4.MessageTypeNak
	}
	return dhcpv4.MessageTypeAck
}

// tell puts into an answer what the client is to know.
func (h Host) tell(q, a *dhcpv4.DHCPv4) {
	a.ServerIPAddr = h.Server.AsSlice()
	a.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(h.Net.Bits(), 32)))
	a.UpdateOption(dhcpv4.OptHostName(h.Name))
	if h.Router.IsValid() {
		a.UpdateOption(dhcpv4.OptRouter(h.Router.AsSlice()))
	}
	if h.Time.IsValid() {
		a.UpdateOption(dhcpv4.OptNTPServers(h.Time.AsSlice()))
	}
	if h.Domain != "" {
		a.UpdateOption(dhcpv4.OptDomainName(h.Domain))
	}
	if h.DNS.IsValid() {
		a.UpdateOption(dhcpv4.OptDNS(h.DNS.AsSlice()))
	}
	if q.MessageType() != dhcpv4.MessageTypeInform {
		a.YourIPAddr = h.IP.AsSlice()
		a.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
	}
	if h.boots(q, a) && isIPXE(q) {
		a.UpdateOption(dhcpv4.OptGeneric(ipxeOptions, noProxy))
	}
}

// boots puts into an answer what the client boots, if there is something for it.
func (h Host) boots(q, a *dhcpv4.DHCPv4) bool {
	switch ipxe := isIPXE(q); {
	case h.Menu != "":
		a.UpdateOption(dhcpv4.OptClassIdentifier(pxeClient))
		a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, menu(h.Menu)))
		if id := q.Options.Get(dhcpv4.OptionClientMachineIdentifier); id != nil {
			a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
		}
	case ipxe && h.Script != "":
		a.UpdateOption(dhcpv4.OptBootFileName(h.Script))
	case !ipxe && h.Loader != "" && strings.HasPrefix(q.ClassIdentifier(), HTTPClient): // see UEFI 2.10, section 24.7
		a.UpdateOption(dhcpv4.OptClassIdentifier(HTTPClient))
		a.UpdateOption(dhcpv4.OptBootFileName(h.Loader))
	case !ipxe && h.Loader != "":
		// Each firmware looks at another of these places.
		a.BootFileName = h.Loader
		a.UpdateOption(dhcpv4.OptBootFileName(h.Loader))
		a.UpdateOption(dhcpv4.OptTFTPServerName(h.Server.String()))
	default:
		return false
	}
	return true
}

// ipxeOptions are options of iPXE in an option: number, length and value of each. noProxy
// is number 176: there is no second server that has the boot file, which iPXE would wait
// for. See https://ipxe.org/howto/dhcpd
var (
	ipxeOptions = dhcpv4.GenericOptionCode(175)
	noProxy     = []byte{176, 1, 1}
)

// HTTPClient is what the class of firmware begins with that loads by HTTP, and that of its
// servers.
const HTTPClient = "HTTPClient"

// isIPXE reports whether a client is iPXE, which says so in a form of its own.
func isIPXE(q *dhcpv4.DHCPv4) bool { return slices.Contains(q.UserClass(), "iPXE") }

// menu is option 43 with a menu of one entry, as PXE 2.1, table 2-1, has it: do as the
// first entry says without asking other servers; the prompt is "PXE", shown for no time;
// and the entry, which is local boot, has a text.
func menu(text string) []byte {
	b := []byte{6, 1, 3, 10, 4, 0, 'P', 'X', 'E', 9, byte(3 + len(text)), 0, 0, byte(len(text))}
	return append(append(b, text...), 255)
}

// reaches reports whether somebody on the network has an address, or all have it: others
// get nothing from here because a packet says that it comes from them.
func (h Host) reaches(to netip.AddrPort) bool {
	return to.Addr().IsUnspecified() || to.Addr() == everybody || h.Net.Contains(to.Addr())
}

// everybody is the address of all on a network.
var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// target is where an answer goes, RFC 2131, section 4.1. To a client without an address
// it goes to the one that it gets: the network must know whose that is without asking. To
// the ROM of a Raspberry Pi it always does, and to the zero address when another server
// gives one: boards have the same transaction number, and take what others are offered.
func (h Host) target(q, a *dhcpv4.DHCPv4) netip.AddrPort {
	all := netip.AddrPortFrom(everybody, clientPort)
	ip := a.YourIPAddr
	switch {
	case h.Menu != "" && q.GatewayIPAddr.IsUnspecified() && q.ClientIPAddr.IsUnspecified() && a.MessageType() != dhcpv4.MessageTypeNak:
	case !q.GatewayIPAddr.IsUnspecified():
		relay, _ := netip.AddrFromSlice(q.GatewayIPAddr.To4())
		return netip.AddrPortFrom(relay, serverPort)
	case a.MessageType() == dhcpv4.MessageTypeNak, ip.IsUnspecified() && q.ClientIPAddr.IsUnspecified():
		return all
	case !q.ClientIPAddr.IsUnspecified():
		ip = q.ClientIPAddr
	case q.IsBroadcast():
		return all
	}
	addr, _ := netip.AddrFromSlice(ip.To4())
	return netip.AddrPortFrom(addr, clientPort)
}
