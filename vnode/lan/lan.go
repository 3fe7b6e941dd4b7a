// Package lan is the network of virtual nodes: a switch, and the server's own
// TCP/IP stack on it, both inside the server, so that they need no privileges and
// touch none of the host's networks. It starts no machines and knows no images.
// Its one surprising rule: each socket of the switch belongs to one MAC and one IP
// address, and a frame that says otherwise does not get in. Whoever is asked by an
// address therefore knows which node asks.
package lan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"walt/crowd"
	"walt/pause"
)

const (
	// mtu is the largest IP packet, in bytes, that passes.
	mtu = 1500
	// mostFrame is the largest frame: a packet behind its Ethernet header.
	mostFrame = mtu + header.EthernetMinimumSize
	// serverMAC is the server's own address on the network, a locally administered one.
	serverMAC = tcpip.LinkAddress("\x02walt\x01")
	// sendBuffer bounds what one connection of the server has under way, in bytes:
	// less than the queue of a port holds, so that a slow machine loses nothing.
	sendBuffer = 512 << 10
	// receiveBuffer bounds what came on one connection and nobody has read, in bytes.
	receiveBuffer = 256 << 10
	// timeWait is for how long the server remembers a connection that it ended: on a
	// network without detours nothing of it is under way any longer.
	timeWait = 5 * time.Second

	nic = tcpip.NICID(1)
)

// Config is what a network is made of.
type Config struct {
	// Subnet holds the addresses of the machines and, as its first, the server's.
	// It is IPv4.
	Subnet netip.Prefix
	// Lookup finds the address of a machine by its name.
	Lookup func(name string) (netip.Addr, bool)
	// Guarded reports whether an address outside is none that machines may reach, as that of
	// what gives them power; nil: none is. It is asked often.
	Guarded func(netip.Addr) bool
	Log     *slog.Logger
}

// LAN is one network. Its methods may be called at the same time.
type LAN struct {
	Config
	Server netip.Addr // of the server

	stack *stack.Stack
	up    uplink
	world *world

	bound sync.Map // ports of UDP that the server was bound to

	mu    sync.RWMutex
	ports map[tcpip.LinkAddress]*Port
}

// New makes a network with nobody on it but the server.
func New(c Config) (*LAN, error) {
	if !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 30 || c.Subnet != c.Subnet.Masked() {
		return nil, fmt.Errorf("the network of virtual nodes cannot be %s", c.Subnet)
	}
	l := &LAN{Config: c, Server: ServerOf(c.Subnet), ports: map[tcpip.LinkAddress]*Port{}}
	l.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := l.configure(); err != nil {
		l.stack.Destroy()
		return nil, fmt.Errorf("make the network of virtual nodes: %w", err)
	}
	l.world = newWorld(l)
	return l, nil
}

// ServerOf is the server's own address on a network.
func ServerOf(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next() }

// configure puts the stack on the switch.
func (l *LAN) configure() error {
	sack, size := tcpip.TCPSACKEnabled(true), tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: sendBuffer, Max: sendBuffer}
	received := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: receiveBuffer, Max: receiveBuffer}
	cubic, wait := tcpip.CongestionControlOption("cubic"), tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &size, &received, &cubic, &wait} {
		if err := l.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return failure(err)
		}
	}
	l.up = uplink{channel.New(0, mostFrame, serverMAC), l}
	if err := l.stack.CreateNIC(nic, ethernet.New(l.up)); err != nil {
		return failure(err)
	}
	addr := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(l.Server), PrefixLen: l.Subnet.Bits()},
	}
	if err := l.stack.AddProtocolAddress(nic, addr, stack.AddressProperties{}); err != nil {
		return failure(err)
	}
	l.stack.SetRouteTable([]tcpip.Route{
		{Destination: addr.AddressWithPrefix.Subnet(), NIC: nic},
		{Destination: header.IPv4Broadcast.WithPrefix().Subnet(), NIC: nic},
	})
	return nil
}

// Close takes the server and all machines off the network.
func (l *LAN) Close() {
	l.mu.Lock()
	ports := l.ports
	l.ports = map[tcpip.LinkAddress]*Port{}
	l.mu.Unlock()
	for _, p := range ports {
		p.Close()
	}
	l.world.close()
	l.stack.Destroy()
}

// Listen accepts TCP connections of machines to a port of the server, from each
// machine only so many at a time.
func (l *LAN) Listen(port uint16) (net.Listener, error) {
	all, err := gonet.ListenTCP(l.stack, l.at(port), ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return &listener{all, crowd.New(connsEach, math.MaxInt)}, nil
}

// ListenPacket receives the UDP packets of machines to a port of the server.
func (l *LAN) ListenPacket(port uint16) (net.PacketConn, error) { return l.bind(l.at(port)) }

// ListenBroadcast is ListenPacket for a protocol of machines that know no address
// yet, neither the server's nor their own: it receives what is sent to everybody.
func (l *LAN) ListenBroadcast(port uint16) (net.PacketConn, error) {
	return l.bind(tcpip.FullAddress{NIC: nic, Port: port})
}

func (l *LAN) bind(at tcpip.FullAddress) (net.PacketConn, error) {
	var queue waiter.Queue
	endpoint, err := l.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &queue)
	if err != nil {
		return nil, failure(err)
	}
	endpoint.SocketOptions().SetBroadcast(true)
	if err := endpoint.Bind(at); err != nil {
		endpoint.Close()
		return nil, failure(err)
	}
	l.bound.Store(at.Port, true)
	return packets{gonet.NewUDPConn(&queue, endpoint), endpoint}, nil
}

// packets is a socket that may be given addresses in either of Go's forms.
type packets struct {
	*gonet.UDPConn
	endpoint tcpip.Endpoint
}

// Dropped is how many packets came that it had no room for.
func (p packets) Dropped() uint64 {
	if s, ok := p.endpoint.Stats().(*tcpip.TransportEndpointStats); ok {
		return s.ReceiveErrors.ReceiveBufferOverflow.Value()
	}
	return 0
}

func (p packets) WriteTo(b []byte, to net.Addr) (int, error) {
	if u, ok := to.(*net.UDPAddr); ok && u.IP.To4() != nil {
		to = &net.UDPAddr{IP: u.IP.To4(), Port: u.Port}
	}
	return p.UDPConn.WriteTo(b, to)
}

// dialTries is how often DialContext tries, and dialPause how long it waits in between.
const dialTries, dialPause = 5, 50 * time.Millisecond

// DialContext connects to a TCP port of a machine. The stack fails what it looks for on the
// network at the moment at which the machine is connected: then it is tried again.
func (l *LAN) DialContext(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	full := tcpip.FullAddress{NIC: nic, Addr: address(to.Addr()), Port: to.Port()}
	for try := 1; ; try++ {
		c, err := gonet.DialContextTCP(ctx, l.stack, full, ipv4.ProtocolNumber)
		if err == nil {
			return c, nil
		}
		if try == dialTries || !isUnreachable(err) || !l.connected(to.Addr()) || pause.For(ctx, dialPause) != nil {
			return nil, err
		}
	}
}

// isUnreachable reports whether an error of gonet, which keeps its words alone, says that the
// stack does not know the way to a machine.
func isUnreachable(err error) bool {
	failed, is := errors.AsType[*net.OpError](err)
	return is && failed.Err.Error() == (&tcpip.ErrHostUnreachable{}).String()
}

// connected reports whether a machine is connected that has the address.
func (l *LAN) connected(ip netip.Addr) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, p := range l.ports {
		if p.ip == ip {
			return true
		}
	}
	return false
}

func (l *LAN) at(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: address(l.Server), Port: port}
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// failure makes an error of one of the stack's.
func failure(err tcpip.Error) error { return fmt.Errorf("%s", err) }

// uplink is the port of the switch that the server's stack is on.
type uplink struct {
	*channel.Endpoint
	lan *LAN
}

// WritePackets sends frames of the stack, which never waits for a machine.
func (u uplink) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range list.AsSlice() {
		frame := make([]byte, 0, p.Size())
		for _, part := range p.AsSlices() {
			frame = append(frame, part...)
		}
		u.lan.send(nil, frame)
	}
	return list.Len(), nil
}
