package netboot

import (
	"context"
	"net/http"

	"walt/netboot/dhcp"
)

// Boards returns what answers the devices of a segment: by DHCP, and what iPXE on them is
// to do.
func Boards(s *Server, on BoardNetwork, segment Segment, devices Devices) (dhcp.Hosts, http.HandlerFunc) {
	b := newBoards(s, on, segment, devices)
	return b, b.script
}

// Files returns what the last boot of a machine starts with, made again when it is gone.
func Files(ctx context.Context, s *Server, m Machine) (Boot, error) {
	return s.files.of(ctx, s.bootBy(m.MAC), s.Agent)
}
