package nic

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Who has an address is looked up on the interface alone, and only once it has answered.
func TestNeighbour(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
192.168.7.51     0x1         0x2         52:54:00:4f:2a:1c     *        lab0
192.168.7.5      0x1         0x2         52:54:00:00:00:05     *        lab0
192.168.7.52     0x1         0x0         00:00:00:00:00:00     *        lab0
192.168.7.53     0x1         0x2         52:54:00:00:00:53     *        eth0
192.168.7.53     0x1         0x6         52:54:00:00:00:54     *        lab0
broken`
	for ip, want := range map[string]string{
		"192.168.7.5": "52:54:00:00:00:05", "192.168.7.51": "52:54:00:4f:2a:1c", "192.168.7.52": "", "192.168.7.53": "52:54:00:00:00:54", "192.168.7.54": "",
	} {
		if got := neighbour(table, "lab0", netip.MustParseAddr(ip)); got.String() != want {
			t.Errorf("%s is %s, want %q", ip, got, want)
		}
	}
}

// Who has an address is waited for, but for only so many addresses at once.
func TestNeighboursAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &Interface{Name: "nothing0", Addr: netip.MustParseAddr("192.0.2.1")}
		for _, c := range []struct {
			asking int32
			waits  bool
		}{{mostAsked - 1, true}, {mostAsked, false}} {
			i.asking.Store(c.asking)
			began := time.Now()
			mac := i.Neighbour(netip.MustParseAddr("192.0.2.2"))
			if waits := time.Since(began) > 0; mac != nil || waits != c.waits || i.asking.Load() != c.asking {
				t.Errorf("beside %d others it is %s, waited for: %v, and %d are left", c.asking, mac, waits, i.asking.Load())
			}
		}
	})
}

// What is sent by UDP comes from the ports that it may, several from one if need be.
func TestPortsOfDialUDP(t *testing.T) {
	t.Parallel()
	i, err := Open("lo", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	i.FirstPort, i.LastPort = 31970, 31971
	for n := range 6 {
		to := netip.AddrPortFrom(i.Addr, uint16(40000+n))
		c, err := i.DialUDP(to, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if from := c.LocalAddr().(*net.UDPAddr).Port; from < 31970 || from > 31971 {
			t.Errorf("it is sent from %d", from)
		}
	}
}

// At a socket that is widened as much waits as the host lets it, and with the right to it
// what it is to be.
func TestWiden(t *testing.T) {
	t.Parallel()
	limit, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Skip(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := widen(conn); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	bad := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	if err != nil || bad != nil || got != 2*waiting && got != 2*min(most, waiting) { // the kernel counts its own share, too
		t.Errorf("%d bytes, %v, %v; the host lets programs have %d", got, err, bad, most)
	}
}

// A socket knows how many packets it had no room for.
func TestDropped(t *testing.T) {
	t.Parallel()
	i, err := Open("lo", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	heard, err := i.ListenUDP(31973)
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	speaker, err := net.Dial("udp4", heard.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer speaker.Close()
	dropped := func() uint64 { return heard.(*insiders).Dropped() }
	if n := dropped(); n != 0 {
		t.Errorf("%d packets were dropped before there was one", n)
	}
	for range 2 * waiting / 1000 {
		if _, err := speaker.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if n := dropped(); n == 0 || n >= 2*waiting/1000 {
		t.Errorf("of %d packets %d were dropped", 2*waiting/1000, n)
	}
}
