package sshd

import "sync"

// sent counts what was written to a connection.
type sent struct {
	mu     sync.Mutex
	writes int
	closed bool
	more   sync.Cond
}

func (s *sent) init() { s.more.L = &s.mu }

// note counts one write more; closed says that there will be no other.
func (s *sent) note(closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.closed = s.closed || closed
	s.more.Broadcast()
}

func (s *sent) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// wait returns when more than that was written, or the connection was closed.
func (s *sent) wait(count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writes == count && !s.closed {
		s.more.Wait()
	}
}
