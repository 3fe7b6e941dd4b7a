package netboot

import (
	"net/http"
	"net/netip"

	"walt/ethernet"
	"walt/netboot/dhcp"
)

// Boards returns what answers the devices of a segment: by DHCP, and what iPXE on them is
// to do.
func Boards(s *Server, segment Segment, devices Devices) (dhcp.Hosts, http.HandlerFunc) {
	b := &boards{Server: s, Segment: segment, devices: devices, holders: map[netip.Addr]ethernet.MAC{}, busy: map[netip.Addr]bool{}}
	return b, b.script
}
