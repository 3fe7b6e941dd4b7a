package netboot

import "context"

// ForgetDoubles forgets that devices have the same MAC address.
func ForgetDoubles(s *Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mac, timer := range s.doubles {
		timer.Stop()
		delete(s.doubles, mac)
	}
}

// Doubles is how many MAC addresses two devices are known to have.
func Doubles(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.doubles)
}

// Files returns what the last boot of a machine starts with, made again when it is gone.
func Files(ctx context.Context, s *Server, m Machine) (Boot, error) {
	return s.files.of(ctx, s.bootBy(m.MAC), s.Agent)
}
