package netboottest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Loopback is a network on loopback, where ports are others than usual: see At.
type Loopback struct {
	mu      sync.Mutex
	of      map[uint16]string
	prodded []string // see Prodded
}

// Listen implements netboot.Network, as the next methods do.
func (l *Loopback) Listen(port uint16) (net.Listener, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.note(port, listener.Addr())
	return listener, nil
}

func (l *Loopback) ListenBroadcast(port uint16) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.note(port, conn.LocalAddr())
	return conn, nil
}

func (l *Loopback) Prod(server uint16, machine netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prodded = append(l.prodded, fmt.Sprintf("%d %s", server, machine))
}

// note notes where a port is.
func (l *Loopback) note(port uint16, at net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[uint16]string{}
	}
	l.of[port] = at.String()
}

// Prodded are the connections that machines were to look after, as "server machine".
func (l *Loopback) Prodded() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.prodded)
}

// At returns the address at which a port was opened last, "" when it was not.
func (l *Loopback) At(port uint16) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[port]
}
