package lan_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	dhcpServer, dhcpClient = 67, 68
	// inDHCP is where a message of DHCP begins in a frame.
	inDHCP = header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize
)

// question is a message of DHCP of so many bytes, from a port, about a MAC address.
func (h *host) question(source, target netip.Addr, port uint16, about tcpip.LinkAddress, size int) []byte {
	b := make([]byte, inDHCP+max(size, 240))
	m := b[inDHCP:]
	m[0], m[1], m[2] = 1, 1, byte(len(about))
	copy(m[28:], about)
	b = b[:inDHCP+size]
	to := everybody
	if target != netip.IPv4Unspecified() && target != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		to = serverMAC
	}
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: h.link(), DstAddr: to, Type: header.IPv4ProtocolNumber})
	packet := header.IPv4(b[header.EthernetMinimumSize:])
	packet.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), ID: 7, TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(source.As4()), DstAddr: tcpip.AddrFrom4(target.As4()),
	})
	packet.SetChecksum(^packet.CalculateChecksum())
	header.UDP(packet.Payload()).Encode(&header.UDPFields{SrcPort: port, DstPort: dhcpServer, Length: uint16(header.UDPMinimumSize + size)})
	return b
}

// pieces are the two of a frame whose packet is cut behind so many bytes of its payload.
func pieces(b []byte, at int) (first, second []byte) {
	const head = header.EthernetMinimumSize + header.IPv4MinimumSize
	first = append(first, b[:head+at]...)
	second = append(append(second, b[:head]...), b[head+at:]...)
	for _, piece := range [][]byte{first, second} {
		packet := header.IPv4(piece[header.EthernetMinimumSize:])
		packet.SetTotalLength(uint16(len(packet)))
		packet.SetChecksum(0)
	}
	one, two := header.IPv4(first[header.EthernetMinimumSize:]), header.IPv4(second[header.EthernetMinimumSize:])
	one.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0)
	two.SetFlagsFragmentOffset(0, uint16(at))
	one.SetChecksum(^one.CalculateChecksum())
	two.SetChecksum(^two.CalculateChecksum())
	return first, second
}

// A machine asks for an address in no other's name, and gets the answer before it answers
// to that address.
func TestQuestionsOfDHCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil, victim := w.plug("evil"), w.plug("victim")
	server, err := w.ListenBroadcast(dhcpServer)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	zero, all := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	own := evil.question(zero, all, dhcpClient, evil.link(), 240)
	begin, rest := pieces(evil.question(evil.ip, w.Server, dhcpClient, victim.link(), 240), 24)
	short, end := pieces(own, 64)
	about := func(at int, ip netip.Addr) []byte {
		return changed(own, func(b []byte) { copy(b[inDHCP+at:], ip.AsSlice()) })
	}
	for name, bad := range map[string][][]byte{
		"of another":               {evil.question(zero, all, dhcpClient, victim.link(), 240)},
		"of nobody":                {evil.question(zero, all, dhcpClient, strange, 240)},
		"of the server":            {evil.question(zero, all, dhcpClient, serverMAC, 240)},
		"to the server alone":      {evil.question(evil.ip, w.Server, dhcpClient, victim.link(), 240)},
		"from another port":        {evil.question(evil.ip, w.Server, 1068, victim.link(), 240)},
		"with a long address":      {evil.question(zero, all, dhcpClient, evil.link()+"\x00\x00", 240)},
		"with none":                {evil.question(zero, all, dhcpClient, "", 240)},
		"that ends before it":      {evil.question(zero, all, dhcpClient, evil.link(), 33)},
		"of nothing":               {evil.question(zero, all, dhcpClient, evil.link(), 0)},
		"in pieces":                {begin, rest},
		"in pieces, the end first": {rest, begin},
		"its own, in pieces":       {short, end},
		"answered to another":      {about(12, victim.ip)},
		"answered to a relay":      {about(24, victim.ip)},
		"answered to the world":    {about(24, outside.Addr())},
	} {
		for _, b := range bad {
			evil.send(b)
		}
		evil.send(own)
		b := make([]byte, 2000)
		if err := server.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		n, from, err := server.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		if tcpip.LinkAddress(b[28:34]) != evil.link() || !bytes.Equal(b[12:28], make([]byte, 16)) || b[2] != 6 || n != 240 || from.String() != "0.0.0.0:68" {
			t.Errorf("a question %s arrives from %s: %x", name, from, b[:n])
		}
	}
	if _, err := server.WriteTo([]byte("an answer"), &net.UDPAddr{IP: evil.ip.AsSlice(), Port: dhcpClient}); err != nil {
		t.Fatal(err)
	}
	if err := evil.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, err := evil.conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if eth := header.Ethernet(b[:n]); eth.DestinationAddress() != evil.link() || eth.Type() != header.IPv4ProtocolNumber || string(b[inDHCP:n]) != "an answer" {
		t.Errorf("it hears %x", b[:n])
	}
}
