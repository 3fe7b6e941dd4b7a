package host

import (
	"net/netip"
	"testing"
)

func TestHas(t *testing.T) {
	own, err := Addresses()
	if err != nil || len(own) == 0 {
		t.Fatal(own, err)
	}
	for _, ip := range own {
		if !Has(ip) || ip.Is4() && !Has(netip.AddrFrom16(ip.As16())) || ip.Is6() && !Has(ip.WithZone("eth0")) {
			t.Errorf("%s is not of this host", ip)
		}
	}
	for ip, want := range map[string]bool{"127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "192.0.2.7": false, "2001:db8::7": false} {
		if Has(netip.MustParseAddr(ip)) != want {
			t.Errorf("%s: %v", ip, !want)
		}
	}
}
