// Package host tells which addresses are those of this host, where services trust what comes from
// itself. Its one surprising rule: an address of which that is not known is one.
package host

import (
	"net"
	"net/netip"
	"slices"
)

// Addresses are those of all interfaces of this host, without zones.
func Addresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap().WithZone(""))
		}
	}
	return own, nil
}

// Has reports whether an address is one of this host.
func Has(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	own, err := Addresses()
	return err != nil || ip.IsLoopback() || slices.Contains(own, ip)
}
