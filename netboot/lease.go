package netboot

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"walt/ethernet"
	"walt/fault"
	"walt/netboot/instructions"
	"walt/nodes"
	"walt/state"
)

// leases are the IP addresses of machines, by their MAC: for ever, so that nothing
// that remembers one is wrong later. Who looks for a free one has to see all.
var leases = state.NewTable[netip.Addr]("lease").Guarded(0)

// fullTrouble is the key of that there are no more of them.
const fullTrouble = "full"

var errFull = errors.New("all addresses are taken")

// Lease returns the address of a machine on a network, of which the first one is the
// server's.
func (s *Server) Lease(ctx context.Context, mac ethernet.MAC, on netip.Prefix) (netip.Addr, error) {
	first, last := Hosts(on)
	return s.lease(ctx, mac, Segment{Net: on, Server: first, First: first, Last: last})
}

// Hosts are the first and the last address that somebody on an IPv4 network can have:
// one is its name, and one is everybody's.
func Hosts(on netip.Prefix) (first, last netip.Addr) {
	b := on.Masked().Addr().As4()
	for i := on.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return on.Masked().Addr().Next(), netip.AddrFrom4(b).Prev()
}

// lease returns the address of a device on a segment: the one that it had there, if it is
// still one that devices get.
func (s *Server) lease(ctx context.Context, mac ethernet.MAC, on Segment) (netip.Addr, error) {
	ip, err := state.Read(ctx, s.Store, func(r state.Reader) (netip.Addr, error) {
		ip, _, err := leases.Find(r, string(mac))
		return ip, err
	})
	if err != nil || on.gives(ip) {
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
		for ip = on.First; ip.Compare(on.Last) <= 0; ip = ip.Next() {
			if on.gives(ip) && !taken[ip] {
				return leases.Put(tx, string(mac), ip)
			}
		}
		return errFull
	})
	switch {
	case errors.Is(err, errFull):
		why := fmt.Sprintf("the network %s has no address left for a machine", on.Net)
		s.Lab.Troubled(ctx, fullTrouble, nodes.Trouble{Text: why + "; forget devices that came by themselves and booted nothing: device forget --unknown"})
		return ip, fault.Failedf("%s", why)
	case err == nil:
		s.Lab.Calmed(fullTrouble)
	}
	return ip, err
}

// gives reports whether devices get an address.
func (on Segment) gives(ip netip.Addr) bool {
	return ip.IsValid() && ip.Compare(on.First) >= 0 && ip.Compare(on.Last) <= 0 && ip != on.Server && ip != on.Router && ip != on.DNS
}

// renewed notes what a machine says of the lease that another server gave it.
func (s *Server) renewed(ctx context.Context, b *boot, before, said instructions.Report) {
	switch n := b.node(); {
	case said.Denied == before.Denied:
	case !said.Denied:
		s.Lab.Calmed(leaseKey(b))
	default:
		text := fmt.Sprintf("%s goes on with the address %s, which the DHCP server of the site does not leave it: reboot it", n, b.machine.IP)
		s.Lab.Troubled(ctx, leaseKey(b), nodes.Trouble{Node: n, Text: text})
	}
}

// leaseKey is that of the trouble that a machine may have with its lease.
func leaseKey(b *boot) string { return "lease " + string(b.machine.MAC) }
