package nic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenBroadcast opens a UDP port for what is sent to everybody on the interface. What
// is written to an address of its network must be an answer of DHCP: it goes to the
// client whose MAC address is in there.
func (i *Interface) ListenBroadcast(port uint16) (net.PacketConn, error) {
	c := net.ListenConfig{Control: i.bind}
	conn, err := c.ListenPacket(context.Background(), "udp4", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // 0: it receives nothing
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("send to MAC addresses: %w", err)
	}
	return &clients{PacketConn: conn, on: i, port: port, raw: raw}, nil
}

// bind has a socket hear the interface alone.
func (i *Interface) bind(_, _ string, c syscall.RawConn) (err error) {
	bad := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.BindToDevice(int(fd), i.Name),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		)
	})
	if bad != nil {
		return bad
	}
	return err
}

// resolved is the flag of an address of which is known who has it, ATF_COM of if_arp.h.
const resolved = 2

// seen returns who has an address, as the host knows it at this moment; nil, if it does not.
func (i *Interface) seen(ip netip.Addr) net.HardwareAddr {
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return nil
	}
	return neighbour(string(table), i.Name, ip)
}

// neighbour looks an address up in a table of proc_pid_net(5): IP address, type, flags, MAC
// address, mask, device.
func neighbour(table, device string, ip netip.Addr) net.HardwareAddr {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 6 || f[0] != ip.String() || f[5] != device {
			continue
		}
		mac, err := net.ParseMAC(f[3])
		if flags, bad := strconv.ParseUint(f[2], 0, 16); err == nil && bad == nil && flags&resolved != 0 {
			return mac
		}
	}
	return nil
}

// clients is a socket whose answers reach clients that have no address yet.
type clients struct {
	net.PacketConn
	on   *Interface
	port uint16
	raw  int // a packet socket
}

// Where the MAC address of a client is in a packet of DHCP, RFC 2131, section 2.
const macFrom, macTo = 28, 34

func (c *clients) WriteTo(b []byte, to net.Addr) (int, error) {
	u, is := to.(*net.UDPAddr)
	if !is || len(b) < macTo {
		return 0, net.InvalidAddrError("want a packet of DHCP, and an address of UDP")
	}
	client := u.AddrPort()
	if !c.on.Net.Contains(client.Addr()) {
		return c.PacketConn.WriteTo(b, to)
	}
	at := unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: c.on.index, Halen: macTo - macFrom}
	copy(at.Addr[:], b[macFrom:macTo])
	return len(b), unix.Sendto(c.raw, datagram(netip.AddrPortFrom(c.on.Addr, c.port), client, b), 0, &at)
}

func (c *clients) Close() error {
	defer unix.Close(c.raw)
	return c.PacketConn.Close()
}

// bigEndian is a number as the kernel wants it of the network.
func bigEndian(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}
