// Package nic makes an interface of this host the network that boards and PCs boot
// from: sockets that hear nobody else. It knows no device. Its one surprising rule: what
// goes to a client that boots is sent to its MAC address: it has no address yet, or its
// firmware answers nobody who asks where that is.
package nic

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"walt/crowd"
	"walt/fault"
)

// Interface is one of this host, which is up and has an IPv4 address.
type Interface struct {
	Name string
	Addr netip.Addr   // of this host
	Net  netip.Prefix // that Addr is in
	MAC  net.HardwareAddr

	// FirstPort and LastPort bound from which ports DialUDP sends; 0: from any.
	FirstPort, LastPort uint16

	index  int
	asking atomic.Int32 // calls of Neighbour that wait for an answer
}

// Open finds an interface by its name. Of several addresses it has the one that is
// wanted, or the first one. What is wrong is a fault.
func Open(name string, want netip.Addr) (*Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		f := fault.Failedf("there is no network interface %s", name)
		if all := others(); len(all) > 0 {
			f = f.WithHint("this host has: %s", strings.Join(all, ", "))
		}
		return nil, f
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

// others are the interfaces of this host that others can be on.
func others() (names []string) {
	all, _ := net.Interfaces() // without them there is less of a hint
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// connsEach is how many connections one address may have to one port, and conns how many
// all together may. The next ones are closed at once.
const connsEach, conns = 64, 16384

// Listen opens a TCP port of the host for who is on the interface, for each only so many
// connections at a time.
func (i *Interface) Listen(port uint16) (net.Listener, error) {
	c := net.ListenConfig{Control: i.bind}
	all, err := c.Listen(context.Background(), "tcp4", netip.AddrPortFrom(i.Addr, port).String())
	if err != nil {
		return nil, err
	}
	return &listener{all.(*net.TCPListener), crowd.New(connsEach, conns)}, nil
}

type listener struct {
	*net.TCPListener
	crowd *crowd.Crowd
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if l.crowd.Enter(from) {
			return &counted{c, sync.OnceFunc(func() { l.crowd.Leave(from) })}, nil
		}
		c.Close()
	}
}

// counted is a connection that counts until it is closed. It is still one of TCP, which
// files are sent to by the kernel.
type counted struct {
	*net.TCPConn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}

// ListenUDP opens a UDP port of the host for who is on the interface, with an address of
// its network: who pretends to have another one would have the server send to strangers.
func (i *Interface) ListenUDP(port uint16) (net.PacketConn, error) {
	c := net.ListenConfig{Control: i.bind}
	conn, err := c.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(i.Addr, port).String())
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	if err := widen(udp); err != nil {
		conn.Close()
		return nil, err
	}
	return &insiders{udp, i.Net}, nil
}

// insiders is a socket that hears who has an address of a network.
type insiders struct {
	*net.UDPConn
	net netip.Prefix
}

func (c *insiders) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || c.net.Contains(from.Addr().Unmap()) {
			return n, net.UDPAddrFromAddrPort(from), err
		}
	}
}

// dialUDP opens a UDP socket of the host to somebody on the interface. Several may have the
// same port: what comes is of the one whose client sent it.
func (i *Interface) dialUDP(to netip.AddrPort) (net.Conn, error) {
	var port uint16
	if i.FirstPort > 0 {
		port = i.FirstPort + uint16(rand.IntN(int(i.LastPort-i.FirstPort)+1))
	}
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.Addr, port)), Control: i.bind}
	return d.Dial("udp4", to.String())
}

const (
	// askFor is how long an address may take to answer who it is, and lookFirst after how long
	// is looked for that first: then after twice as long each time.
	askFor, lookFirst = time.Second, 10 * time.Millisecond
	// mostAsked is of how many addresses that is waited for at once: anybody can send in the
	// name of all that nobody has.
	mostAsked = 64
	// discard is a port at which nobody answers, RFC 863.
	discard = 9
)

// Neighbour returns who has an address on the network, as the host knows it, which asks
// when it does not: nil when nobody answers within a second, or too many are asked for.
func (i *Interface) Neighbour(ip netip.Addr) net.HardwareAddr {
	if mac := i.seen(ip); mac != nil {
		return mac
	}
	defer i.asking.Add(-1)
	if i.asking.Add(1) > mostAsked {
		return nil
	}
	i.ask(ip)
	for pause, end := lookFirst, time.Now().Add(askFor); ; pause *= 2 {
		time.Sleep(pause)
		if mac := i.seen(ip); mac != nil || time.Now().After(end) {
			return mac
		}
	}
}

// ask has the host ask who has an address: it wants to send something there.
func (i *Interface) ask(ip netip.Addr) {
	c, err := i.dialUDP(netip.AddrPortFrom(ip, discard))
	if err != nil {
		return // there is no way to it
	}
	defer c.Close()
	_, _ = c.Write(nil) // it may be lost: what counts is that it was asked
}

// Prod does nothing: the host itself tells machines that connections to a server which
// has ended are over.
func (i *Interface) Prod(uint16, netip.AddrPort) {}

// question is a packet of ARP, RFC 826, that asks who has an address of IPv4.
func question(mac net.HardwareAddr, from, who netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, the lengths of their addresses, a request
	b = append(append(b, mac...), from.AsSlice()...)
	return append(append(b, make([]byte, 6)...), who.AsSlice()...)
}

const (
	ethernetHeader, ipHeader, udpHeader = 14, 20, 8 // bytes

	protocolUDP = 17
	dhcpServer  = 67 // the port
)

// udpOf is whose MAC address sent a frame of IPv4, and what it holds in a packet of UDP;
// nil when there is no such packet.
func udpOf(frame []byte) (from net.HardwareAddr, data []byte) {
	if len(frame) < ethernetHeader+ipHeader {
		return nil, nil
	}
	p := frame[ethernetHeader:]
	header := int(p[0]&0xf) * 4
	if header < ipHeader || len(p) < header+udpHeader {
		return nil, nil
	}
	size := int(binary.BigEndian.Uint16(p[header+4:]))
	if size < udpHeader || len(p) < header+size {
		return nil, nil
	}
	return slices.Clone(frame[6:12]), p[header+udpHeader : header+size]
}

// datagram is an IPv4 packet with one of UDP. That has its checksum, too, which RFC 768
// leaves to the sender: firmware may not.
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
	p = append(p, b...)
	// With what RFC 768 calls its pseudo header: the addresses are in the packet.
	sum := checksum(p[12:ipHeader], p[ipHeader:], []byte{0, protocolUDP, p[ipHeader+4], p[ipHeader+5]})
	if sum == 0 { // which would say that there is none
		sum = 0xffff
	}
	put(p[ipHeader+6:], sum)
	return p
}

// checksum is that of RFC 1071 over parts of a packet. One that has an odd number of bytes
// counts as if a zero followed it.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
