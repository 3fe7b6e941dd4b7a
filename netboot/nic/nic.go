// Package nic makes an interface of this host the network that boards and PCs boot
// from: sockets that hear nobody else. It knows no device. Its one surprising rule: what
// answers a client that has no address yet goes to its MAC address, since such a client
// answers nobody who asks where the address is.
package nic

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"walt/fault"
)

// Interface is one of this host, which is up and has an IPv4 address.
type Interface struct {
	Name string
	Addr netip.Addr   // of this host
	Net  netip.Prefix // that Addr is in
	MAC  net.HardwareAddr

	index int
}

// Open finds an interface by its name. Of several addresses it has the one that is
// wanted, or the first one. What is wrong is a fault.
func Open(name string, want netip.Addr) (*Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fault.Failedf("there is no network interface %s", name)
	}
	if i.Flags&net.FlagUp == 0 {
		return nil, fault.Failedf("the network interface %s is down", name).WithHint("set it up: ip link set %s up", name)
	}
	all, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		on, err := netip.ParsePrefix(a.String())
		if err == nil && on.Addr().Is4() && (!want.IsValid() || want == on.Addr()) {
			return &Interface{Name: name, Addr: on.Addr(), Net: on.Masked(), MAC: i.HardwareAddr, index: i.Index}, nil
		}
	}
	if want.IsValid() {
		return nil, fault.Failedf("the network interface %s does not have the address %s", name, want)
	}
	return nil, fault.Failedf("the network interface %s has no IPv4 address", name).WithHint("give it one: ip address add ADDRESS/BITS dev %s", name)
}

// Listen opens a TCP port of the host for who is on the interface.
func (i *Interface) Listen(port uint16) (net.Listener, error) {
	c := net.ListenConfig{Control: i.bind}
	return c.Listen(context.Background(), "tcp4", netip.AddrPortFrom(i.Addr, port).String())
}

// ListenUDP opens a UDP port of the host for who is on the interface.
func (i *Interface) ListenUDP(port uint16) (net.PacketConn, error) {
	c := net.ListenConfig{Control: i.bind}
	return c.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(i.Addr, port).String())
}

// DialUDP opens a UDP socket of the host to somebody on the interface.
func (i *Interface) DialUDP(to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.Addr, 0)), Control: i.bind}
	return d.Dial("udp4", to.String())
}

const (
	// askFor is how long an address may take to answer who it is, and lookEvery how often
	// is looked for that.
	askFor, lookEvery = time.Second, 10 * time.Millisecond
	// discard is a port at which nobody answers, RFC 863.
	discard = 9
)

// Neighbour returns who has an address on the network, as the host knows it, which asks
// when it does not: nil when nobody answers within a second.
func (i *Interface) Neighbour(ip netip.Addr) net.HardwareAddr {
	for asked, end := false, time.Now().Add(askFor); ; asked = true {
		if mac := i.seen(ip); mac != nil || time.Now().After(end) {
			return mac
		}
		if !asked {
			i.ask(ip)
		}
		time.Sleep(lookEvery)
	}
}

// ask has the host ask who has an address: it wants to send something there.
func (i *Interface) ask(ip netip.Addr) {
	c, err := i.DialUDP(netip.AddrPortFrom(ip, discard))
	if err != nil {
		return // there is no way to it
	}
	defer c.Close()
	_, _ = c.Write(nil) // it may be lost: what counts is that it was asked
}

// Prod does nothing: the host itself tells machines that connections to a server which
// has ended are over.
func (i *Interface) Prod(uint16, netip.AddrPort) {}

const (
	ipHeader, udpHeader = 20, 8 // bytes

	protocolUDP = 17
)

// datagram is an IPv4 packet with one of UDP, without a checksum of the latter, which
// RFC 768 leaves to the sender.
func datagram(from, to netip.AddrPort, b []byte) []byte {
	p := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(b))
	put := binary.BigEndian.PutUint16
	p[0] = 4<<4 | ipHeader/4
	put(p[2:], uint16(cap(p)))
	p[8], p[9] = 64, protocolUDP
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	put(p[10:], checksum(p[:ipHeader]))
	put(p[ipHeader:], from.Port())
	put(p[ipHeader+2:], to.Port())
	put(p[ipHeader+4:], uint16(udpHeader+len(b)))
	return append(p, b...)
}

// checksum is that of a header of IPv4, RFC 791, section 3.1.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
