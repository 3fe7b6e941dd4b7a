package lan

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// There is no IPv6 here, but iPXE waits 16 seconds for a router to say so.

// solicits reports whether a frame asks for IPv6 routers, RFC 4861, section 4.1.
func solicits(frame []byte) bool {
	if header.Ethernet(frame).Type() != header.IPv6ProtocolNumber {
		return false
	}
	packet := header.IPv6(frame[header.EthernetMinimumSize:])
	return packet.IsValid(len(packet)) && packet.TransportProtocol() == header.ICMPv6ProtocolNumber &&
		len(packet.Payload()) >= header.ICMPv6MinimumSize && header.ICMPv6(packet.Payload()).Type() == header.ICMPv6RouterSolicit
}

// advertisement is the answer, RFC 4861, section 4.2: a router that is none, as it
// routes for 0 seconds, and that has no addresses to give. It goes to everybody:
// iPXE takes no other.
var advertisement = func() []byte {
	const (
		hops   = 255
		length = header.ICMPv6HeaderSize + header.NDPRAMinimumSize
	)
	from := header.LinkLocalAddr(serverMAC)
	frame := make([]byte, header.EthernetMinimumSize+header.IPv6MinimumSize+length)
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: serverMAC, DstAddr: tcpip.LinkAddress("\x33\x33\x00\x00\x00\x01"), Type: header.IPv6ProtocolNumber,
	})
	packet := header.IPv6(frame[header.EthernetMinimumSize:])
	packet.Encode(&header.IPv6Fields{
		PayloadLength: length, TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: hops,
		SrcAddr: from, DstAddr: header.IPv6AllNodesMulticastAddress,
	})
	message := header.ICMPv6(packet.Payload())
	message.SetType(header.ICMPv6RouterAdvert)
	message.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: message, Src: from, Dst: header.IPv6AllNodesMulticastAddress,
		PayloadCsum: checksum.Checksum(nil, 0),
	}))
	return frame
}()
