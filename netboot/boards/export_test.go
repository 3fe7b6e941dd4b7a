package boards

import (
	"context"
	"net"
	"net/http"

	"walt/ethernet"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
)

// Boards returns what answers the devices of a segment: by DHCP, and by HTTP.
func Boards(s *Server, on Network, segment Segment) (dhcp.Hosts, http.HandlerFunc) {
	b := newBoards(s, on, segment, net.HardwareAddr{2, 0, 0, 0, 0, 1})
	s.segment.set(b, nil)
	web := http.NewServeMux()
	b.Handle(web)
	return b, web.ServeHTTP
}

// Begin says why nobody begins to boot on a segment, nil when they do.
func Begin(hosts dhcp.Hosts, why error) { hosts.(*boards).begun.set(struct{}{}, why) }

// ServeNames has what answers the devices of a segment answer what they ask about names,
// until ctx ends.
func ServeNames(ctx context.Context, hosts dhcp.Hosts) { hosts.(*boards).serveNames(ctx) }

// Hears has what answers the devices of a segment hear a server of DHCP.
func Hears(hosts dhcp.Hosts, from net.HardwareAddr, packet []byte) {
	hosts.(*boards).hears(from, packet)
}

// Heard tells of the server that it heard last, if there is one.
func Heard(ctx context.Context, hosts dhcp.Hosts) bool {
	b := hosts.(*boards)
	select {
	case ip := <-b.look:
		b.meetsServer(ctx, ip)
		return true
	default:
		return false
	}
}

// ForgetServers forgets servers of DHCP that are gone.
func ForgetServers(hosts dhcp.Hosts) { hosts.(*boards).forgetServers() }

// Told are the files that devices ask for by TFTP.
func Told(hosts dhcp.Hosts) tftp.Files { return told{hosts.(*boards), "TFTP"} }

// Stopped returns the boards whose ROMs have stopped, and why.
func Stopped(hosts dhcp.Hosts) map[ethernet.MAC]string { return hosts.(*boards).stopped() }
