package netboot

import (
	"context"
	"sync"

	"walt/ethernet"
)

// verdict is what was found out last about something that is looked at again and again.
// Who asks before the first time waits for that.
type verdict[T any] struct {
	mu    sync.Mutex
	is    T
	err   error
	known chan struct{} // closed after the first time
}

func newVerdict[T any]() *verdict[T] { return &verdict[T]{known: make(chan struct{})} }

func (v *verdict[T]) set(is T, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.is, v.err = is, err
	select {
	case <-v.known:
	default:
		close(v.known)
	}
}

func (v *verdict[T]) get(ctx context.Context) (is T, err error) {
	select {
	case <-v.known:
	case <-ctx.Done():
		return is, ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.is, v.err
}

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
	ip, err := b.lease(ctx, mac, b.Segment)
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
