package lan

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Prod has a machine find out whether the server still knows a connection of it, from a
// port of the machine to one of the server. It sends a SYN as if the server began it
// anew: the machine answers with what it expects next (RFC 5961, section 4), which the
// server's stack resets if the connection is of a server before this one, and else
// ignores. The machine would only ask when its timer says so, up to two minutes later.
func (l *LAN) Prod(server uint16, machine netip.AddrPort) {
	l.mu.RLock()
	var to *Port
	for _, p := range l.ports {
		if p.ip == machine.Addr() {
			to = p
		}
	}
	l.mu.RUnlock()
	if to != nil {
		to.out.put(nil, syn(l.Server, server, to.mac, machine))
	}
}

// syn is the frame that begins a connection of the server.
func syn(from netip.Addr, port uint16, mac tcpip.LinkAddress, to netip.AddrPort) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.TCPMinimumSize)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: serverMAC, DstAddr: mac, Type: header.IPv4ProtocolNumber})
	packet := header.IPv4(b[header.EthernetMinimumSize:])
	packet.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: address(from), DstAddr: address(to.Addr()),
	})
	packet.SetChecksum(^packet.CalculateChecksum())
	segment := header.TCP(packet.Payload())
	segment.Encode(&header.TCPFields{
		SrcPort: port, DstPort: to.Port(), DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1 << 15,
	})
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, address(from), address(to.Addr()), header.TCPMinimumSize)
	segment.SetChecksum(^checksum.Checksum(segment, pseudo))
	return b
}
