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
	if f := fault.As(err); f == nil || f.Msg != file+":2: network.interface: there is no network interface nothing0" {
		t.Errorf("it says %v", err)
	}
}
