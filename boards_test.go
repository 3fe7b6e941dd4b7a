package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walt/config"
	"walt/fault"
	"walt/netboot/boards"
	"walt/netboot/nic"
)

// A host that remembers fewer neighbours than may be there says so, with what to type.
func TestCrowded(t *testing.T) {
	segment := func(first, last string) boards.Segment {
		return boards.Segment{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
	}
	const want = "the network of boards and PCs has room for 1025, and this host remembers at most 1024 neighbours; for more: " +
		"sysctl -w net.ipv4.neigh.default.gc_thresh1=1025 net.ipv4.neigh.default.gc_thresh2=1281 net.ipv4.neigh.default.gc_thresh3=1537"
	if got := crowded(segment("10.0.0.1", "10.0.4.1"), "1024\n"); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for _, c := range [][3]string{{"10.0.0.1", "10.0.4.0", "1024\n"}, {"10.0.0.1", "10.0.255.254", "65536"}, {"10.0.0.1", "10.0.255.254", ""}} {
		if got := crowded(segment(c[0], c[1]), c[2]); got != "" {
			t.Errorf("of %v it says %q", c, got)
		}
	}
}

// Loopback leads to nobody else, and of what is not there is said what is.
func TestOpenSegment(t *testing.T) {
	for name, want := range map[string]string{
		"lo": "boards and PCs are not on the interface lo, which leads to this host itself", "nothing0": "there is no network interface nothing0",
	} {
		_, _, err := openSegment(config.Network{Interface: name, DHCP: "full"}, netip.MustParsePrefix("10.217.0.0/20"))
		f := fault.As(err)
		if f == nil || f.Msg != want || f.Hint != "" && (name == "lo" || !strings.HasPrefix(f.Hint, "this host has: ")) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Addresses that no device can have are told before one gets them.
func TestSegmentOn(t *testing.T) {
	full := func(first, last, router string) config.Network {
		c := config.Network{Interface: "lab0", DHCP: "full", RouterAddr: addr(router), First: addr(first), Last: addr(last)}
		if first != "" {
			c.Range = first + "-" + last
		}
		return c
	}
	proxy := config.Network{Interface: "lab0", DHCP: "proxy"}
	for _, c := range []struct {
		on   string
		in   config.Network
		want string // "" where nothing is wrong
	}{
		{"192.168.7.1/24", full("", "", ""), ""},
		{"192.168.7.1/24", full("192.168.7.1", "192.168.7.3", "192.168.7.2"), ""},
		{"192.168.7.1/24", full("192.168.7.1", "192.168.7.254", "192.168.7.1"), ""},
		{"192.168.7.1/24", full("192.168.7.0", "192.168.7.9", ""), "network.range: 192.168.7.0 is no address of a device in the network of the interface lab0, 192.168.7.0/24; want two of those from 192.168.7.1 to 192.168.7.254"},
		{"192.168.7.1/24", full("192.168.7.9", "192.168.7.255", ""), "network.range: 192.168.7.255 is no"},
		{"192.168.7.1/24", full("192.168.8.1", "192.168.8.9", ""), "network.range: 192.168.8.1 is no"},
		{"192.168.7.1/24", full("192.168.7.1", "192.168.7.1", ""), "network.range: 192.168.7.1-192.168.7.1 has no address that is free for devices"},
		{"192.168.7.1/24", full("192.168.7.1", "192.168.7.2", "192.168.7.2"), "network.range: 192.168.7.1-192.168.7.2 has no"},
		{"192.168.7.1/24", full("", "", "192.168.8.1"), "network.router: 192.168.8.1 is not in the network"},
		{"192.168.7.1/30", full("", "", ""), ""},
		{"192.168.7.1/31", full("", "", ""), "network.interface: the network of the interface lab0, 192.168.7.0/31, has no room for devices; give it a larger one: ip address add ADDRESS/24 dev lab0"},
		{"192.168.7.1/32", full("", "", ""), "network.interface: the network of the interface lab0, 192.168.7.1/32, has no room"},
		{"192.168.7.1/31", proxy, ""},
		{"127.0.0.1/8", proxy, "network.interface: boards and PCs are not on the interface lab0"},
		{"10.217.1.1/24", proxy, "network.interface: the network of the interface lab0, 10.217.1.0/24, overlaps"},
	} {
		on := netip.MustParsePrefix(c.on)
		_, err := segmentOn(&nic.Interface{Name: "lab0", Addr: on.Addr(), Net: on.Masked()}, c.in, netip.MustParsePrefix("10.217.0.0/20"))
		got := ""
		if m, is := err.(misfit); is {
			got = m.key + ": " + m.what.Msg + "; " + m.what.Hint
		} else if err != nil {
			t.Errorf("%s, %+v: %v", c.on, c.in, err)
		}
		if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s, %+v: %q, want %q", c.on, c.in, got, c.want)
		}
	}
}

// addr is an address, the zero Addr for "".
func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// What is wrong with the network of a configuration is told with its place in the file.
func TestLocated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "walt.toml")
	if err := os.WriteFile(file, []byte("[network]\ninterface = \"nothing0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = checkNetwork(t.Context(), file, c)
	for _, err := range []error{err, checkSegment(file, c)} {
		if f := fault.As(err); f == nil || f.Msg != file+":2: network.interface: there is no network interface nothing0" {
			t.Errorf("it says %v", err)
		}
	}
	if err := checkSegment(file, config.Config{}); err != nil {
		t.Errorf("of none it says %v", err)
	}
}
