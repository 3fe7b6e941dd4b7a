package boards_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"walt/fault"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
)

// answered is what a server of DHCP sends.
func answered(t *testing.T, server string, kind dhcpv4.MessageType) []byte {
	t.Helper()
	q, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 0, 9})
	if err != nil {
		t.Fatal(err)
	}
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server))))
	if err != nil {
		t.Fatal(err)
	}
	return a.ToBytes()
}

// Another server of DHCP is told with its address and MAC address as long as it answers,
// and a stranger that pretends to be many fills no memory.
func TestForeignServers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := time.Now()
	f.Now = func() time.Time { return now }
	hosts, _ := f.serves(&neighbours{at: map[string]string{}}, segment, known{})
	hears := func(mac, server string, kind dhcpv4.MessageType) bool {
		from, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		boards.Hears(hosts, from, answered(t, server, kind))
		return boards.Heard(t.Context(), hosts)
	}
	if hears("02:00:00:00:00:01", "127.0.0.1", dhcpv4.MessageTypeOffer) {
		t.Error("the server takes itself for another one")
	}
	if hears("02:00:00:00:00:07", "192.168.0.1", dhcpv4.MessageTypeDiscover) || len(f.Worries()) > 0 {
		t.Errorf("a question passes for an answer: %v", f.Worries())
	}
	const words = "another DHCP server answers beside this one, from which devices may get addresses: 192.168.0.1 (02:00:00:00:00:07)"
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak} {
		if !hears("02:00:00:00:00:07", "192.168.0.1", kind) || len(f.Worries()) != 1 || f.Worries()["dhcp 192.168.0.1"] != words {
			t.Errorf("after %s it is told %q", kind, f.Worries())
		}
	}
	now = now.Add(3 * time.Minute)
	boards.ForgetServers(hosts)
	if len(f.Worries()) != 1 {
		t.Error("it is forgotten after 3 minutes")
	}
	now = now.Add(time.Minute)
	if boards.ForgetServers(hosts); len(f.Worries()) > 0 {
		t.Errorf("it is not forgotten: %v", f.Worries())
	}
	for i := range 100 {
		hears("02:00:00:00:00:07", fmt.Sprintf("10.0.0.%d", i), dhcpv4.MessageTypeOffer)
	}
	if len(f.Worries()) > 10 {
		t.Errorf("it tells of %d servers", len(f.Worries()))
	}
}

// What the server itself asks for, to find others, is no device.
func TestAsksNotItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	devices := open{known{}}
	hosts, _ := f.serves(nil, segment, devices)
	if h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: "02:00:00:00:00:01"}); ok || len(devices.known) > 0 {
		t.Errorf("it gives itself %+v", h)
	}
	if h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: "02:00:00:00:00:02"}); !ok || !strings.HasPrefix(h.Name, "new-") {
		t.Errorf("another one gets %+v, %v", h, ok)
	}
}

// siteNetwork is a network with a server of DHCP of the site, or without one.
type siteNetwork struct {
	closedPorts
	server string // "" for none
}

func (n *siteNetwork) ListenBroadcast(port uint16) (net.PacketConn, error) {
	if port != 68 {
		return n.closedPorts.ListenBroadcast(port)
	}
	return &siteConn{on: n}, nil
}

// siteConn is what a question about addresses goes through, and answers of the site come.
type siteConn struct {
	net.PacketConn
	on    *siteNetwork
	asked []byte // the last question, nil when it is answered
}

func (c *siteConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.asked = slices.Clone(b)
	return len(b), nil
}

func (c *siteConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.on.server == "" || c.asked == nil {
		return 0, nil, os.ErrDeadlineExceeded
	}
	q, err := dhcpv4.FromBytes(c.asked)
	if err != nil {
		return 0, nil, err
	}
	c.asked = nil
	a, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(c.on.server))))
	if err != nil {
		return 0, nil, err
	}
	return copy(b, a.ToBytes()), nil, nil
}

func (c *siteConn) SetReadDeadline(time.Time) error { return nil }
func (c *siteConn) Close() error                    { return nil }

// Before a start is told that another server gives addresses, with what to do, and where
// one should that there is none.
func TestServerOfTheSite(t *testing.T) {
	t.Parallel()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for server, want := range map[string]string{"": "", "192.168.0.1": "another DHCP server answers there: 192.168.0.1"} {
		on := &siteNetwork{server: server}
		err := boards.Check(t.Context(), on, segment, mac)
		switch f := fault.As(err); {
		case want == "" && err != nil, want != "" && (f == nil || f.Msg != want || !strings.Contains(f.Hint, `dhcp = "proxy" in [network]`)):
			t.Errorf("with the server %q: %+v", server, err)
		}
		if none := boards.NobodyAnswers(t.Context(), on, segment, mac); none != (server == "") {
			t.Errorf("with the server %q nobody answers: %v", server, none)
		}
	}
}
