package nic

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"walt/crowd"
)

// What goes to a client without an address is a packet of IPv4 as RFC 791 and RFC 768
// have it: its header sums up to nothing.
func TestDatagram(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.168.7.1:67"), netip.MustParseAddrPort("192.168.7.200:68")
	p := datagram(from, to, []byte("odd"))
	want := []byte{
		0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, p[10], p[11], 192, 168, 7, 1, 192, 168, 7, 200,
		0, 67, 0, 68, 0, 11, p[26], p[27], 'o', 'd', 'd',
	}
	if !bytes.Equal(p, want) {
		t.Errorf("% x, want % x", p, want)
	}
	if sum := checksum(p[:ipHeader]); sum != 0 {
		t.Errorf("with its checksum the header sums up to %#x, want 0", sum)
	}
	// The sum of all that UDP checks, with its checksum, is nothing, too: addresses, protocol
	// and length, and the packet.
	if sum := checksum(p[12:20], []byte{0, 17, 0, 11}, p[20:]); sum != 0 || p[26] == 0 && p[27] == 0 {
		t.Errorf("with its checksum % x what UDP has sums up to %#x, want 0", p[26:28], sum)
	}
	if p := datagram(from, to, []byte{0x6f, 0x39}); p[26] != 0xff || p[27] != 0xff {
		t.Errorf("a checksum that is nothing is % x, want ff ff", p[26:28])
	}
	if sum := checksum([]byte{0xff, 0xff, 0xff, 0xff, 0, 1}); sum != 0xfffe {
		t.Errorf("what is carried is lost: %#x", sum)
	}
}

// Who has too many connections gets no more until one is closed; others do.
func TestConnectionsEach(t *testing.T) {
	t.Parallel()
	all, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{all.(*net.TCPListener), crowd.New(1, 2)}
	defer l.Close()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp4", all.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	accept := func() net.Conn {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	dial("127.0.0.1")
	first := accept()
	if _, is := first.(io.ReaderFrom); !is {
		t.Error("files are not sent to it by the kernel")
	}
	more := dial("127.0.0.1")
	dial("127.0.0.2")
	if c := accept(); c.RemoteAddr().(*net.TCPAddr).IP.String() != "127.0.0.2" {
		t.Errorf("%s has a second connection", c.RemoteAddr())
	}
	if _, err := more.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection is open")
	}
	first.Close()
	first.Close() // which counts once
	dial("127.0.0.1")
	accept()
}

// Who pretends to be of another network is not heard.
func TestInsiders(t *testing.T) {
	t.Parallel()
	i := &Interface{Addr: netip.MustParseAddr("127.0.0.1"), Net: netip.MustParsePrefix("127.0.0.0/24")}
	all, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.Addr, 0)))
	if err != nil {
		t.Fatal(err)
	}
	c := &insiders{all, i.Net}
	defer c.Close()
	for _, from := range []string{"127.0.1.1", "127.0.0.7"} {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		s, err := d.Dial("udp4", c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Write([]byte(from)); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	n, from, err := c.ReadFrom(b)
	if err != nil || string(b[:n]) != "127.0.0.7" || from.(*net.UDPAddr).IP.String() != "127.0.0.7" {
		t.Errorf("%q of %v, %v", b[:n], from, err)
	}
}

func TestOpen(t *testing.T) {
	i, err := Open("lo", netip.Addr{})
	if err != nil || i.Addr != netip.MustParseAddr("127.0.0.1") || i.Net != netip.MustParsePrefix("127.0.0.0/8") {
		t.Errorf("loopback is %+v, %v", i, err)
	}
	for name, want := range map[string]string{"nothing0": "there is no network interface nothing0", "lo": "the network interface lo does not have the address 192.0.2.1"} {
		if _, err := Open(name, netip.MustParseAddr("192.0.2.1")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Who has an address is asked as RFC 826 has it.
func TestQuestion(t *testing.T) {
	got := question(net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.168.7.1"), netip.MustParseAddr("192.168.7.200"))
	want := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 168, 7, 1, 0, 0, 0, 0, 0, 0, 192, 168, 7, 200}
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

// Whatever comes as a frame, what it holds is in it.
func FuzzFrame(f *testing.F) {
	from, to := netip.MustParseAddrPort("192.168.7.1:67"), netip.MustParseAddrPort("192.168.7.200:68")
	f.Add(append(make([]byte, ethernetHeader), datagram(from, to, []byte("offer"))...))
	f.Fuzz(func(t *testing.T, frame []byte) {
		from, data := udpOf(frame)
		if data == nil {
			return
		}
		if len(from) != 6 || !bytes.Equal(from, frame[6:12]) || len(data)+ethernetHeader+ipHeader+udpHeader > len(frame) || !bytes.Contains(frame, data) {
			t.Errorf("% x holds % x of %s", frame, data, from)
		}
	})
}
