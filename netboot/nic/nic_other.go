//go:build !linux

package nic

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"walt/fault"
)

// ListenBroadcast fails: it needs sockets of Linux.
func (i *Interface) ListenBroadcast(uint16) (net.PacketConn, error) {
	return nil, fault.Failedf("the server boots boards and PCs on Linux alone")
}

// HearServers fails in the same way.
func (i *Interface) HearServers(context.Context, func(net.HardwareAddr, []byte)) error {
	return fault.Failedf("the server boots boards and PCs on Linux alone")
}

func (i *Interface) seen(netip.Addr) net.HardwareAddr { return nil }

// AskWho fails, too.
func (i *Interface) AskWho(netip.Addr) error {
	return fault.Failedf("the server boots boards and PCs on Linux alone")
}

func (i *Interface) broadcast(uint16, []byte) error {
	return fault.Failedf("frames are sent on Linux alone")
}

// DialUDP opens a UDP socket of the host to somebody on the interface.
func (i *Interface) DialUDP(to netip.AddrPort, _ net.HardwareAddr) (net.Conn, error) {
	return i.dialUDP(to)
}

func (i *Interface) bind(string, string, syscall.RawConn) error { return nil }

func widen(*net.UDPConn) error { return nil }
