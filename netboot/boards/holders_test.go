package boards_test

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"walt/ethernet"
	"walt/images/imagetest"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/netboot/tftp"
	"walt/nodes"
)

// neighbours are who has which address on a network whose addresses another server gives.
type neighbours struct {
	netboottest.Loopback
	at map[string]string
}

func (n *neighbours) Neighbour(ip netip.Addr) net.HardwareAddr {
	mac, _ := net.ParseMAC(n.at[ip.String()]) // nil for nobody
	return mac
}

func (n *neighbours) HearServers(context.Context, func(net.HardwareAddr, []byte)) error { return nil }

func (n *neighbours) ListenUDP(uint16) (net.PacketConn, error) { return nil, errors.New("not here") }

func (n *neighbours) DialUDP(netip.AddrPort, net.HardwareAddr) (net.Conn, error) {
	return nil, errors.New("not here")
}

func (n *neighbours) AskWho(netip.Addr) error { return errors.New("not here") }

// open takes every stranger.
type open struct{ known }

func (o open) Met(ctx context.Context, a nodes.Arrival) (nodes.Device, error) {
	if _, here := o.known[a.MAC]; !here {
		o.known[a.MAC] = nodes.Device{Name: nodes.Name("new-" + a.MAC[15:]), MAC: a.MAC, Kind: nodes.Unknown}
	}
	return o.known.Met(ctx, a)
}

// iPXE is what a device at an address is to do, where the server does this of DHCP.
func (f *fixture) iPXE(on *neighbours, how boards.DHCP, devices devices, from, query string) (int, string) {
	f.T.Helper()
	s := segment
	s.DHCP = how
	_, script := f.serves(on, s, devices)
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(f.T.Context(), "GET", "/ipxe"+query, nil)
	r.RemoteAddr = from + ":1000"
	script(w, r)
	return w.Code, w.Body.String()
}

// Beside another server of DHCP a device boots at the address that it has from there, also
// when it has another one the next time, and whoever had that before.
func TestAddressesOfAnother(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	devices := known{
		one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"},
		two.MAC: {Name: "two", MAC: two.MAC, Kind: nodes.Node, Model: "pc-x86-64"},
	}
	on := &neighbours{at: map[string]string{"127.0.0.2": string(one.MAC)}}
	s := segment
	s.DHCP = boards.Proxy
	hosts, _ := f.serves(on, s, devices)
	if h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC}); !ok || h.IP.IsValid() || h.Script != "http://127.0.0.1:80/ipxe" {
		t.Errorf("it is given %+v, %v", h, ok)
	}
	boots := func(from string) (token string) {
		t.Helper()
		_, got := f.iPXE(on, boards.Proxy, devices, from, "")
		if !strings.Contains(got, " walt.ip="+from+"/24 ") || !strings.Contains(got, "\nboot ||") {
			t.Fatalf("at %s it is to do %q", from, got)
		}
		_, token, _ = strings.Cut(got, "/boot/")
		token, _, _ = strings.Cut(token, " ")
		return token
	}
	token := boots("127.0.0.2")
	i, _ := f.Ask(one, token)
	if i.Leased.String() != "127.0.0.2" {
		t.Errorf("it is to renew the lease of %s", i.Leased)
	}
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")

	// The server of the site does not leave it its address, for a while.
	const key, words = "lease 52:54:00:00:00:01", "one one goes on with the address 127.0.0.2, which the DHCP server of the site does not leave it: reboot it"
	denied := netboottest.ReportOf(i, instructions.Init, instructions.Up)
	denied.Denied = true
	f.Report(c, denied)
	imagetest.Until(t, "it is told", func() bool { return f.Worries()[key] == words })
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	imagetest.Until(t, "it is over", func() bool { return len(f.Worries()) == 0 })

	// It comes back at another address, where it is found from then on.
	on.at["127.0.0.9"] = string(one.MAC)
	boots("127.0.0.9")
	if ip, found := f.Find("one"); !found || ip.String() != "127.0.0.9" {
		t.Errorf("it is at %v, %v", ip, found)
	}

	// Another one has that then, and the server that starts anew knows the last one there.
	on.at["127.0.0.9"] = string(two.MAC)
	boots("127.0.0.9")
	f.Hears("one lost two has its address")
	if ip, found := f.Find("one"); found {
		t.Errorf("the first one is still at %v", ip)
	}
	m := one
	m.IP = netip.MustParseAddr("127.0.0.9")
	if here, err := f.Resume(t.Context(), m); here || err != nil {
		t.Errorf("a new server has a boot of the first one there, %v", err)
	}
	m.Name, m.MAC = two.Name, two.MAC
	if here, err := f.Resume(t.Context(), m); !here || err != nil {
		t.Errorf("a new server has no boot of the second one, %v", err)
	}
	if status, _ := f.iPXE(on, boards.Proxy, devices, "127.0.0.4", ""); status != 403 {
		t.Errorf("an address at which nobody is: status %d", status)
	}
	on.at["10.0.0.1"] = string(one.MAC)
	if status, _ := f.iPXE(on, boards.Proxy, devices, "10.0.0.1", ""); status != 403 {
		t.Errorf("an address of another network: status %d", status)
	}
}

// Where the server is not asked for addresses, iPXE is the first that it hears of a device.
func TestDHCPOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	devices := open{known{two.MAC: {Name: "two", MAC: two.MAC, Kind: nodes.Node, Model: "pc-x86-64", Host: nodes.QEMU}}}
	on := &neighbours{at: map[string]string{"127.0.0.2": string(one.MAC), "127.0.0.3": string(two.MAC), "127.0.0.4": "52:54:00:00:00:04"}}
	for _, c := range []struct {
		from, query string
		mac         ethernet.MAC
		want        string
		model       string
	}{
		{"127.0.0.2", "", one.MAC, "#!ipxe\nchain --replace --autofree http://127.0.0.1:80/ipxe?arch=${buildarch} ||\n:walt\nimgfree\necho walt: it is not answered;", ""},
		{"127.0.0.2", "?arch=i386", one.MAC, "#!ipxe\n:walt\nimgfree\necho walt: the default image of pc-x86-64 is not here yet;", "pc-x86-64"},
		{"127.0.0.2", "", one.MAC, "#!ipxe\n:walt\nimgfree\necho walt: the default image of pc-x86-64 is not here yet;", "pc-x86-64"},
		{"127.0.0.4", "?arch=arm64", "52:54:00:00:00:04", "#!ipxe\n:walt\nimgfree\necho walt: its model is not known, tell it: device config new-04", ""},
		{"127.0.0.3", "", two.MAC, "this is not for you\n", "pc-x86-64"},
	} {
		_, got := f.iPXE(on, boards.Off, devices, c.from, c.query)
		if d := devices.known[c.mac]; !strings.HasPrefix(got, c.want) || string(d.Model) != c.model {
			t.Errorf("from %s%s: it is a %q, and to do %q, want %q", c.from, c.query, d.Model, got, c.want)
		}
	}
	s := segment
	s.DHCP = boards.Off
	hosts, _ := f.serves(on, s, devices)
	for ip, there := range map[string]bool{"127.0.0.2": true, "127.0.0.9": false} {
		if _, err := hosts.(tftp.Files).Open(netip.MustParseAddr(ip), "none"); (err.Error() == "file does not exist") != there {
			t.Errorf("%s asks for a file: %v", ip, err)
		}
	}
}
