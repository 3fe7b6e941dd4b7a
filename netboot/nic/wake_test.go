package nic

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestMagic(t *testing.T) {
	got := hex.EncodeToString(magic(net.HardwareAddr{0x52, 0x54, 0, 0x4f, 0x2a, 0x1c}))
	if want := "ffffffffffff" + strings.Repeat("5254004f2a1c", 16); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if everybody.String() != "ff:ff:ff:ff:ff:ff" {
		t.Errorf("everybody is %s", everybody)
	}
}

func TestLastOf(t *testing.T) {
	for on, want := range map[string]string{"192.168.7.1/24": "192.168.7.255", "10.0.5.3/22": "10.0.7.255", "10.1.2.3/8": "10.255.255.255", "10.0.0.1/32": "10.0.0.1", "1.2.3.4/0": "255.255.255.255"} {
		if got := lastOf(netip.MustParsePrefix(on)); got.String() != want {
			t.Errorf("of %s it is %s, want %s", on, got, want)
		}
	}
}
