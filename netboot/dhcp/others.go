package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// asks is how often Others asks, since an answer may get lost.
	asks = 3
	// askEvery is after how long it does so again. Some servers try for three seconds whether
	// the address that they have in mind is free.
	askEvery = 2 * time.Second
	// mostServers is how many are returned at most: anybody can pretend to be any number.
	mostServers = 8
)

// ServerOf is the server that offers or confirms an address in a packet, or denies it;
// false when that is no such packet.
func ServerOf(packet []byte) (netip.Addr, bool) {
	a, err := dhcpv4.FromBytes(packet)
	if err != nil || a.OpCode != dhcpv4.OpcodeBootReply {
		return netip.Addr{}, false
	}
	switch a.MessageType() {
	case dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak:
		return netip.AddrFromSlice(a.ServerIdentifier().To4())
	}
	return netip.Addr{}, false
}

// Others returns the servers that answer who looks for an address on a network, as one
// with a MAC address does there through conn, a socket of port 68 that may send to
// everybody. It takes six seconds.
func Others(ctx context.Context, conn net.PacketConn, mac net.HardwareAddr) (all []netip.Addr, err error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	q, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, err
	}
	everybody := &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort}
	b := make([]byte, mostPacket)
	for range asks {
		if _, err := conn.WriteTo(q.ToBytes(), everybody); err != nil {
			return nil, fmt.Errorf("look for other servers of DHCP: %w", err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(askEvery)); err != nil {
			return nil, err
		}
		for {
			n, _, err := conn.ReadFrom(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("look for other servers of DHCP: %w", err)
			}
			a, err := dhcpv4.FromBytes(b[:n])
			if err != nil || a.OpCode != dhcpv4.OpcodeBootReply || a.TransactionID != q.TransactionID {
				continue
			}
			if s, is := netip.AddrFromSlice(a.ServerIdentifier().To4()); is && len(all) < mostServers && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}
