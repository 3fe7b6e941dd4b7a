package boards

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"walt/fault"
	"walt/netboot/dhcp"
	"walt/nodes"
	"walt/pause"
)

const (
	// foreignAgain is how often is looked for other servers of DHCP, and foreignGone after
	// how long without an answer one of them is gone.
	foreignAgain, foreignGone = time.Minute, 3*time.Minute + 30*time.Second
	// foreigners is how many of them are remembered: anybody can pretend to be any number.
	foreigners = 8
)

// foreigner is another server of DHCP on a segment where this one gives addresses.
type foreigner struct {
	mac   net.HardwareAddr // nil: not known
	heard time.Time        // the last answer
	told  bool             // that it is there, while this server gives addresses, too
}

// hears notes that somebody answered as a server of DHCP.
func (b *boards) hears(from net.HardwareAddr, packet []byte) {
	ip, is := dhcp.ServerOf(packet)
	if !is || ip == b.Segment.Server || from.String() == b.mac.String() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.foreign[ip]
	if f == nil {
		if len(b.foreign) >= foreigners {
			return
		}
		f = &foreigner{}
		b.foreign[ip] = f
	}
	f.mac, f.heard = from, b.Now()
	select {
	case b.look <- ip:
	default: // it is looked already
	}
}

// chooses is told that a client takes its address from another server.
func (b *boards) chooses(server netip.Addr) {
	if server == b.Segment.Server {
		return
	}
	select {
	case b.look <- server:
	default:
	}
}

// overhear hears what servers of DHCP send to everybody, until ctx ends.
func (b *boards) overhear(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		err := b.on.HearServers(ctx, b.hears)
		if ctx.Err() == nil && !told {
			b.Log.Error("listen for other DHCP servers", "network", b.Net, "err", err)
			told = true
		}
		if pause.For(ctx, foreignAgain) != nil {
			return
		}
	}
}

// watch looks for other servers of DHCP while this one gives addresses, until ctx ends:
// somebody may connect one at any time. What is served stays as it is.
func (b *boards) watch(ctx context.Context) error {
	select {
	case <-b.look: // from before, when others were looked for
	default:
	}
	for {
		var claimed netip.Addr
		select {
		case <-ctx.Done():
			return nil
		case claimed = <-b.look:
		case <-time.After(foreignAgain):
		}
		all, err := b.others(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			b.Boots.Complain(netip.Addr{}, "look for other DHCP servers", "err", err)
		}
		if claimed.IsValid() {
			all = append(all, claimed)
		}
		for _, ip := range all {
			b.meetsServer(ctx, ip)
		}
		b.forgetServers()
	}
}

// others asks which other servers of DHCP there are.
func (b *boards) others(ctx context.Context) ([]netip.Addr, error) {
	conn, err := b.on.ListenBroadcast(portDHCPClient)
	if err != nil {
		return nil, unopened(portDHCPClient, err)
	}
	defer conn.Close()
	return dhcp.Others(ctx, conn, b.mac)
}

// alone returns a fault when another server gives addresses on the network: two of them
// would each give away what the other one has.
func (b *boards) alone(ctx context.Context) error {
	all, err := b.others(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	var named []string
	for _, ip := range all {
		named = append(named, b.serverWords(ip))
	}
	return fault.Failedf("another DHCP server answers there: %s", fault.Few(named)).
		WithHint("end that one, or leave it the addresses: dhcp = \"proxy\" in [network] (see: waltd help network)")
}

// NobodyAnswers reports whether it is known that no server of DHCP answers this host on a
// segment. It takes six seconds.
func NobodyAnswers(ctx context.Context, on Network, segment Segment, mac net.HardwareAddr) bool {
	all, err := newBoards(nil, on, segment, mac).others(ctx)
	return err == nil && len(all) == 0
}

// serverWords are a server of DHCP for people.
func (b *boards) serverWords(ip netip.Addr) string {
	b.mu.Lock()
	f := b.foreign[ip]
	b.mu.Unlock()
	var mac net.HardwareAddr
	if f != nil {
		mac = f.mac
	}
	if mac == nil && b.Net.Contains(ip) {
		mac = b.on.Neighbour(ip)
	}
	if mac == nil {
		return ip.String()
	}
	return fmt.Sprintf("%s (%s)", ip, mac)
}

// meetsServer notes that another server answers, and tells of it.
func (b *boards) meetsServer(ctx context.Context, ip netip.Addr) {
	words := b.serverWords(ip)
	b.mu.Lock()
	f := b.foreign[ip]
	if f == nil && len(b.foreign) < foreigners {
		f = &foreigner{}
		b.foreign[ip] = f
	}
	if f == nil {
		b.mu.Unlock()
		return
	}
	f.heard = b.Now()
	news := !f.told
	f.told = true
	b.mu.Unlock()
	if news {
		b.Log.Warn("another DHCP server has begun to answer; what is served goes on", "network", b.Net, "server", words)
	}
	b.Lab.Troubled(ctx, serverKey(ip), nodes.Trouble{Text: "another DHCP server answers beside this one, from which devices may get addresses: " + words})
}

// forgetServers forgets those that have not answered for a while.
func (b *boards) forgetServers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ip, f := range b.foreign {
		if b.Now().Sub(f.heard) < foreignGone {
			continue
		}
		delete(b.foreign, ip)
		if f.told {
			b.Log.Info("another DHCP server does not answer any more", "network", b.Net, "server", ip)
			b.Lab.Calmed(serverKey(ip))
		}
	}
}

// serverKey is that of the trouble that another server of DHCP is.
func serverKey(ip netip.Addr) string { return "dhcp " + ip.String() }
