package netboot

import (
	"context"

	"walt/ethernet"
)

// Unserved is told why boards and PCs cannot be served: machines of the server that are on
// their network cannot either.
func (s *Server) Unserved(why error) { s.segment.set(nil, why) }

// OnSegment is where a machine of the server is on the network of boards and PCs: its
// address is one of theirs, and it reaches what they do. It waits until it is known whether
// they are served.
func (s *Server) OnSegment(ctx context.Context, mac ethernet.MAC) (Machine, error) {
	b, err := s.segment.get(ctx)
	if err != nil {
		return Machine{}, err
	}
	ip, err := b.Lease(ctx, mac, b.pool())
	if err != nil {
		return Machine{}, err
	}
	b.holds(ip, mac)
	return b.place(ip), nil
}

// Begins returns why nobody begins to boot on that network now, nil when they do: as boards
// and PCs, no machine uses an address there that another server may give away. It waits
// until that is known.
func (s *Server) Begins(ctx context.Context) error {
	b, err := s.segment.get(ctx)
	if err == nil {
		_, err = b.begun.get(ctx)
	}
	return err
}
