package netboot

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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

// Hosts are the first and the last address that somebody on an IPv4 network can have:
// one is its name, and one is everybody's.
func Hosts(on netip.Prefix) (first, last netip.Addr) {
	b := on.Masked().Addr().As4()
	for i := on.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return on.Masked().Addr().Next(), netip.AddrFrom4(b).Prev()
}

// Pool are the addresses that machines on a network have: those from the first to the last,
// but for what others have.
type Pool struct {
	Net         netip.Prefix
	First, Last netip.Addr
	Others      []netip.Addr // the zero Addr is nobody's
}

// PoolOf are all addresses of a network but the first one, which is the server's.
func PoolOf(on netip.Prefix) Pool {
	first, last := Hosts(on)
	return Pool{Net: on, First: first.Next(), Last: last}
}

// Has reports whether an address is one of them.
func (p Pool) Has(ip netip.Addr) bool {
	return ip.IsValid() && ip.Compare(p.First) >= 0 && ip.Compare(p.Last) <= 0 && !slices.Contains(p.Others, ip)
}

// Lease returns the address of a machine: the one that it had before if that is still one of
// the pool. The error is a fault when none is left.
func (s *Server) Lease(ctx context.Context, mac ethernet.MAC, from Pool) (netip.Addr, error) {
	ip, err := s.Leased(ctx, mac)
	if err != nil || from.Has(ip) {
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
		for ip = from.First; ip.Compare(from.Last) <= 0; ip = ip.Next() {
			if from.Has(ip) && !taken[ip] {
				return leases.Put(tx, string(mac), ip)
			}
		}
		return errFull
	})
	switch {
	case errors.Is(err, errFull):
		why := fmt.Sprintf("the network %s has no address left for a machine", from.Net)
		s.Lab.Troubled(ctx, fullTrouble, nodes.Trouble{Text: why + "; forget devices that came by themselves and booted nothing: device forget --unknown"})
		return ip, fault.Failedf("%s", why)
	case err == nil:
		s.Lab.Calmed(fullTrouble)
	}
	return ip, err
}

// Leased returns the address that a machine had last, the zero Addr when it had none.
func (s *Server) Leased(ctx context.Context, mac ethernet.MAC) (netip.Addr, error) {
	return state.Read(ctx, s.Store, func(r state.Reader) (netip.Addr, error) {
		ip, _, err := leases.Find(r, string(mac))
		return ip, err
	})
}

// Leases are the addresses that machines had last.
func (s *Server) Leases(ctx context.Context) (map[ethernet.MAC]netip.Addr, error) {
	return state.Read(ctx, s.Store, func(r state.Reader) (map[ethernet.MAC]netip.Addr, error) {
		all := map[ethernet.MAC]netip.Addr{}
		for e, err := range leases.Scan(r, "", "") {
			if err != nil {
				return nil, err
			}
			all[ethernet.MAC(e.Key)] = e.Value
		}
		return all, nil
	})
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
