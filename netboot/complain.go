package netboot

import (
	"context"
	"net/netip"
	"time"
)

const (
	complainAgain  = time.Minute // after which something of the same machine is logged again
	complaintLimit = 1000        // machines that this is remembered of
)

// Complain logs what a machine does wrong, or has no right to, unless something of it was
// logged lately: a machine must not fill the log of the server.
func (s *Server) Complain(from netip.Addr, what string, args ...any) {
	s.mu.Lock()
	now := time.Now()
	last, lately := s.complained[from]
	if lately = lately && now.Sub(last) < complainAgain; !lately {
		if s.complained == nil || len(s.complained) >= complaintLimit {
			s.complained = map[netip.Addr]time.Time{}
		}
		s.complained[from] = now
	}
	s.mu.Unlock()
	if !lately {
		s.Log.Warn(what, append([]any{"from", from}, args...)...)
	}
}

// fails logs, as Complain does, why a machine does not get what it asked for with ctx,
// unless it is not waiting for that any more.
func (s *Server) fails(ctx context.Context, b *boot, what string, err error) {
	if ctx.Err() == nil {
		s.Complain(b.machine.IP, what, "node", b.node(), "err", err)
	}
}
