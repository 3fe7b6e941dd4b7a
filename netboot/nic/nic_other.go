//go:build !linux

package nic

import (
	"net"
	"net/netip"
	"syscall"

	"walt/fault"
)

// ListenBroadcast fails: it needs sockets of Linux.
func (i *Interface) ListenBroadcast(uint16) (net.PacketConn, error) {
	return nil, fault.Failedf("the server boots boards and PCs on Linux alone")
}

func (i *Interface) seen(netip.Addr) net.HardwareAddr { return nil }

func (i *Interface) bind(string, string, syscall.RawConn) error { return nil }
