package netboot

import (
	"context"
	"maps"
	"net/netip"
	"time"
)

const (
	complainAgain  = time.Minute // after which something of the same machine is logged again
	complaintLimit = 1000        // machines that are logged in that time
)

// Complain logs what a machine does wrong, or has no right to, unless something of it was
// logged lately: a machine must not fill the log of the server.
func (s *Server) Complain(from netip.Addr, what string, args ...any) {
	s.mu.Lock()
	now := time.Now()
	last, lately := s.complained[from]
	if lately = lately && now.Sub(last) < complainAgain; !lately {
		if s.complained == nil {
			s.complained = map[netip.Addr]time.Time{}
		}
		if len(s.complained) >= complaintLimit {
			maps.DeleteFunc(s.complained, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= complainAgain })
		}
		if lately = len(s.complained) >= complaintLimit; !lately { // anybody can be anybody
			s.complained[from] = now
		}
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
