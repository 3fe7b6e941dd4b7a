package netboot

import (
	"context"
	"net/netip"

	"walt/ethernet"
	"walt/fault"
	"walt/state"
)

// leases are the IP addresses of machines, by their MAC: for ever, so that nothing
// that remembers one is wrong later. Who looks for a free one has to see all.
var leases = state.NewTable[netip.Addr]("lease").Guarded(0)

// Lease returns the address of a machine on a network, of which the first one is the
// server's.
func (s *Server) Lease(ctx context.Context, mac ethernet.MAC, on netip.Prefix) (netip.Addr, error) {
	ip, err := state.Read(ctx, s.Store, func(r state.Reader) (netip.Addr, error) {
		ip, _, err := leases.Find(r, string(mac))
		return ip, err
	})
	if err != nil || on.Contains(ip) {
		return ip, err
	}
	_, err = s.Store.Update(ctx, func(tx state.Tx) error {
		taken := map[netip.Addr]bool{}
		for e, err := range leases.Scan(tx, "", "") {
			if err != nil {
				return err
			}
			taken[e.Value] = true
		}
		for ip = on.Addr().Next().Next(); on.Contains(ip.Next()); ip = ip.Next() { // the last one is everybody
			if !taken[ip] {
				return leases.Put(tx, string(mac), ip)
			}
		}
		return fault.Failedf("the network %s has no address left for a machine", on)
	})
	return ip, err
}
