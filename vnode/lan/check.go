package lan

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Ports of DHCP, RFC 2131.
const dhcpServer, dhcpClient = 67, 68

// unheard is what check says of frames that machines may send, and nobody listens to.
const unheard = "unheard"

// check returns why a frame of the machine does not get in, "" when it does. A
// machine speaks IPv4 and ARP, as itself; it is no DHCP server.
func (p *Port) check(frame []byte) (wrong string) {
	if len(frame) < header.EthernetMinimumSize || len(frame) > mostFrame {
		return "a frame of a wrong size"
	}
	eth := header.Ethernet(frame)
	if eth.SourceAddress() != p.mac {
		return "a MAC address that is not its own"
	}
	body := frame[header.EthernetMinimumSize:]
	switch eth.Type() {
	case header.ARPProtocolNumber:
		return p.checkARP(body)
	case header.IPv4ProtocolNumber:
		return p.checkIP(body, eth.DestinationAddress())
	}
	return unheard
}

func (p *Port) checkARP(body []byte) (wrong string) {
	a := header.ARP(body)
	switch {
	case !a.IsValid():
		return "broken ARP"
	case tcpip.LinkAddress(a.HardwareAddressSender()) != p.mac:
		return "ARP for a MAC address that is not its own"
	}
	if from := ip(a.ProtocolAddressSender()); from != p.ip && !from.IsUnspecified() {
		return "ARP for an IP address that is not its own"
	}
	return ""
}

func (p *Port) checkIP(body []byte, link tcpip.LinkAddress) (wrong string) {
	h, server := header.IPv4(body), link == serverMAC
	if !h.IsValid(len(body)) {
		return "broken IPv4"
	}
	isUDP, isTCP := h.TransportProtocol() == header.UDPProtocolNumber, h.TransportProtocol() == header.TCPProtocolNumber
	var from, to uint16 // ports of UDP
	begins := false
	if first := h.FragmentOffset() == 0; first && isUDP {
		if h.PayloadLength() < header.UDPMinimumSize {
			return "UDP that hides its ports"
		}
		from, to = binary.BigEndian.Uint16(h.Payload()), binary.BigEndian.Uint16(h.Payload()[2:])
		begins = to == dnsPort || to == dhcpServer
	} else if first && isTCP {
		if h.PayloadLength() < header.TCPMinimumSize {
			return "TCP that hides its ports"
		}
		begins = header.TCP(h.Payload()).Flags()&(header.TCPFlagSyn|header.TCPFlagAck) == header.TCPFlagSyn
	}
	source := addr(h.SourceAddress())
	switch {
	case source == p.ip:
	case source.IsUnspecified() && from == dhcpClient && to == dhcpServer:
	default:
		return "an IP address that is not its own"
	}
	if isUDP && (from == dhcpServer || to == dhcpClient) {
		return "DHCP as a server"
	}
	if to == dhcpServer && !p.asks(h) {
		return "DHCP for a MAC address that is not its own"
	}
	if h.TransportProtocol() == header.ICMPv4ProtocolNumber && (server || header.IsMulticastEthernetAddress(link)) && !echoes(h) {
		return unheard
	}
	switch target := addr(h.DestinationAddress()); {
	case server && target != p.lan.Server && p.lan.Subnet.Contains(target):
		return "a packet for another machine, sent to the server"
	case server && begins && !p.beginnings.Allow():
		return "too many connections or questions"
	case !server || target == p.lan.Server:
		return ""
	case isUDP || isTCP:
		return "" // to the world, perhaps
	}
	return unheard
}

// asks reports whether a packet to a DHCP server is in the machine's own name. Who asks is
// at 28, and the length of that at 2, RFC 2131, section 2; the answer goes to the address
// that it has, at 12, or to that of a relay, at 24, which nobody is here. In pieces no
// packet passes: the first one may end before that.
func (p *Port) asks(h header.IPv4) bool {
	m := h.Payload()[header.UDPMinimumSize:]
	if h.More() || len(m) < 28+len(p.mac) || int(m[2]) != len(p.mac) || tcpip.LinkAddress(m[28:28+len(p.mac)]) != p.mac {
		return false
	}
	has := ip(m[12:16])
	return (has == p.ip || has.IsUnspecified()) && ip(m[24:28]).IsUnspecified()
}

// echoes reports whether a packet of ICMP, or the first piece of one, is of a ping. All else
// tells of connections, which may be those of another machine, and would be believed.
func echoes(h header.IPv4) bool {
	if h.FragmentOffset() > 0 {
		return true // of no use without the first piece
	}
	if h.PayloadLength() < header.ICMPv4MinimumSize {
		return false
	}
	kind := header.ICMPv4(h.Payload()).Type()
	return kind == header.ICMPv4Echo || kind == header.ICMPv4EchoReply
}

// forServer reports whether a checked frame to everybody is of interest to the
// server alone: what machines ask when they look for their own address.
func forServer(frame []byte) bool {
	if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber {
		return false
	}
	h := header.IPv4(frame[header.EthernetMinimumSize:])
	return h.TransportProtocol() == header.UDPProtocolNumber && h.FragmentOffset() == 0 &&
		binary.BigEndian.Uint16(h.Payload()[2:]) == dhcpServer
}

// hears reports whether a checked frame to the server belongs to something that it
// may be busy with: a connection, or a packet of UDP for one of its ports or the world.
func (l *LAN) hears(frame []byte) bool {
	if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber {
		return false
	}
	h := header.IPv4(frame[header.EthernetMinimumSize:])
	switch h.TransportProtocol() {
	case header.TCPProtocolNumber:
		return true
	case header.UDPProtocolNumber:
		if h.FragmentOffset() > 0 || addr(h.DestinationAddress()) != l.Server {
			return true
		}
		_, bound := l.bound.Load(binary.BigEndian.Uint16(h.Payload()[2:]))
		return bound
	}
	return false
}

// resets reports whether a frame of the server ends a connection, or one that is none.
func resets(frame []byte) bool {
	if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber {
		return false
	}
	h := header.IPv4(frame[header.EthernetMinimumSize:])
	return h.TransportProtocol() == header.TCPProtocolNumber && h.PayloadLength() >= header.TCPMinimumSize &&
		header.TCP(h.Payload()).Flags().Contains(header.TCPFlagRst)
}

func ip(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

func addr(a tcpip.Address) netip.Addr { return netip.AddrFrom4(a.As4()) }
