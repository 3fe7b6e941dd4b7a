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
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenBroadcast opens a UDP port for what is sent to everybody on the interface. What
// is written to an address of its network must be an answer of DHCP: it goes to the
// client whose MAC address is in there. So does what is written to the zero address, which
// is that of a client whose address the server does not know.
func (i *Interface) ListenBroadcast(port uint16) (net.PacketConn, error) {
	c := net.ListenConfig{Control: i.bind}
	conn, err := c.ListenPacket(context.Background(), "udp4", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	if err := widen(conn.(*net.UDPConn)); err != nil {
		conn.Close()
		return nil, err
	}
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // 0: it receives nothing
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("send to MAC addresses: %w", err)
	}
	return &clients{PacketConn: conn, on: i, port: port, raw: raw}, nil
}

// waiting is how many bytes wait at a socket that all devices may send to at the same
// moment, as when the power of a lab comes back: the usual 208 KiB are 160 packets.
const waiting = 2 << 20

// widen lets that many bytes wait, or as many as the host lets programs have that do not
// have the right to more, see socket(7).
func widen(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	bad := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, waiting) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, waiting)
		}
	})
	return errors.Join(err, bad)
}

// Dropped is how many packets came that the socket had no room for.
func (c *insiders) Dropped() uint64 {
	table, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0
	}
	return drops(string(table), c.LocalAddr().(*net.UDPAddr).AddrPort())
}

// drops looks a socket up in such a table of proc_pid_net(5), whose second column is its own
// address and port in hexadecimal digits, and the last one how many packets it dropped.
func drops(table string, local netip.AddrPort) (n uint64) {
	ip := local.Addr().Unmap().As4()
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), local.Port())
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) == 13 && f[1] == want {
			some, _ := strconv.ParseUint(f[12], 10, 64) // the heading is no number
			n += some
		}
	}
	return n
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

// HearServers calls heard with what servers of DHCP send that reaches this host, and whose
// MAC address sent it, until ctx ends.
func (i *Interface) HearServers(ctx context.Context, heard func(from net.HardwareAddr, packet []byte)) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // 0: nothing yet
	if err != nil {
		return fmt.Errorf("hear packets: %w", err)
	}
	f := os.NewFile(uintptr(fd), "packets")
	defer f.Close()
	filter := fromServers(i.index)
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: i.index})
	}
	if err != nil {
		return fmt.Errorf("hear packets: %w", err)
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	b := make([]byte, mostFrame)
	for {
		n, err := f.Read(b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hear packets: %w", err)
		}
		if from, packet := udpOf(b[:n]); packet != nil {
			heard(from, packet)
		}
	}
}

// mostFrame is how many bytes of a frame are looked at.
const mostFrame = 2048

// What a filter may know of a frame beside its bytes, SKF_AD_OFF and what follows it in
// linux/filter.h.
const (
	aside      = 0xfffff000
	packetType = aside + 4
	whichIndex = aside + 8
)

// fromServers has the kernel keep frames of IPv4 alone that hold a whole packet of UDP
// from the port of servers of DHCP, see Documentation/networking/filter.rst: on the interface
// with an index itself, and not in a VLAN on the same cable.
func fromServers(index int) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: whichIndex}, // that of a VLAN which this host is in is another one
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(index), Jf: 10},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: packetType}, // what is in others counts as sent to others
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_OTHERHOST, Jt: 8},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ethernetHeader + 9}, // the protocol
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolUDP, Jf: 6},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: ethernetHeader + 6}, // where this piece belongs
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 4},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: ethernetHeader}, // how long the header is
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: ethernetHeader},  // the port that it comes from
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: dhcpServer, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: mostFrame},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
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
	switch ip := client.Addr().Unmap(); {
	case ip.IsUnspecified():
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), client.Port())
	case !c.on.Net.Contains(ip):
		return c.PacketConn.WriteTo(b, to)
	}
	return len(b), c.on.sendTo(c.raw, b[macFrom:macTo], unix.ETH_P_IP, datagram(netip.AddrPortFrom(c.on.Addr, c.port), client, b))
}

func (c *clients) Close() error {
	defer unix.Close(c.raw)
	return c.PacketConn.Close()
}

// sendTo sends a packet of a protocol to a MAC address, through a packet socket.
func (i *Interface) sendTo(raw int, mac net.HardwareAddr, protocol uint16, packet []byte) error {
	at := unix.SockaddrLinklayer{Protocol: bigEndian(protocol), Ifindex: i.index, Halen: uint8(len(mac))}
	copy(at.Addr[:], mac)
	return unix.Sendto(raw, packet, 0, &at)
}

// AskWho asks everybody on the interface who has an address. An answer is for the kernel.
func (i *Interface) AskWho(ip netip.Addr) error {
	return i.broadcast(unix.ETH_P_ARP, question(i.MAC, i.Addr, ip))
}

// broadcast sends a packet of a protocol to everybody on the interface.
func (i *Interface) broadcast(protocol uint16, packet []byte) error {
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("send to MAC addresses: %w", err)
	}
	defer unix.Close(raw)
	return i.sendTo(raw, everybody, protocol, packet)
}

// DialUDP opens a UDP socket of the host to somebody on the interface. What is written to
// it goes to the MAC address, without asking who has the IP address; with a nil one it is
// a socket like others.
func (i *Interface) DialUDP(to netip.AddrPort, mac net.HardwareAddr) (net.Conn, error) {
	conn, err := i.dialUDP(to)
	if err != nil || mac == nil {
		return conn, err
	}
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("send to MAC addresses: %w", err)
	}
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &direct{Conn: conn, on: i, from: from, to: to, mac: mac, raw: raw}, nil
}

// direct is a socket to a client at a MAC address.
type direct struct {
	net.Conn
	on       *Interface
	from, to netip.AddrPort
	mac      net.HardwareAddr

	mu  sync.Mutex
	raw int // a packet socket, -1 when it is closed
}

func (d *direct) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.raw < 0 {
		return 0, net.ErrClosed
	}
	if err := d.on.sendTo(d.raw, d.mac, unix.ETH_P_IP, datagram(d.from, d.to, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (d *direct) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.raw >= 0 {
		unix.Close(d.raw)
		d.raw = -1
	}
	return d.Conn.Close()
}

// bigEndian is a number as the kernel wants it of the network.
func bigEndian(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}
