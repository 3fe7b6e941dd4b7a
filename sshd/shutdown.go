package sshd

import (
	"context"
	"errors"
	"sync"
	"time"
)

// parting is how long clients get to hang up by themselves after their last
// session, and cancelled commands to end.
const parting = 2 * time.Second

var errStopping = errors.New("the server stops")

// Shutdown ends the server: no new connections and sessions from now on,
// shells and scripts that wait for input end at once, running commands when
// they are done or when ctx ends, which cancels them. It returns when
// everything ended. The error is ctx's when it had to cancel.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()

	s.each(func(x *session) { x.drain() })
	err := wait(ctx, &s.sessions)
	if err != nil {
		s.each(func(x *session) { x.cancel(errStopping) })
	}
	late, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	if wait(late, &s.sessions) == nil {
		_ = wait(late, &s.connections)
	}
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.connections.Wait()
	s.sessions.Wait()
	return err
}

// each calls do for every session.
func (s *Server) each(do func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sessions := range s.live {
		for x := range sessions {
			do(x)
		}
	}
}

// wait waits for the group; the error is ctx's when that ends first. Its
// goroutine then stays until the group is done.
func wait(ctx context.Context, g *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
