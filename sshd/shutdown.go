package sshd

import (
	"context"
	"errors"
	"sync"
	"time"

	"walt/fault"
)

// errStopping is what users are told whose session ends for it.
var errStopping error = fault.New(fault.Interrupted, "the server is shutting down")

// Shutdown ends the server: no new connections and sessions from now on,
// shells and scripts that wait for input end at once, running commands when
// they are done or when ctx ends, which cancels them; forwards at once when these have
// ended. The error is ctx's when
// it had to cancel. Shutdown returns when everything has ended, or a few
// seconds after ctx when a command does not obey.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()

	sessions, connections, forwards := doneChan(&s.sessions), doneChan(&s.connections), doneChan(&s.forwarding)
	s.eachSession((*session).drain)
	var err error
	select {
	case <-sessions:
	case <-ctx.Done():
		err = ctx.Err()
		s.eachSession(func(x *session) { x.cancel(errStopping) })
	}
	if within(s.hangUpGrace, sessions) {
		s.closeIdle()
		within(s.hangUpGrace, connections)
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	if !within(s.hangUpGrace, connections) || !within(s.hangUpGrace, sessions) || !within(s.hangUpGrace, forwards) {
		return errors.New("a command that was cancelled did not end")
	}
	return err
}

// closeIdle ends the forwards, and closes the connections whose clients wait for nothing:
// those do not hang up by themselves.
func (s *Server) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endForwards(func(*conn) bool { return true })
	for c := range s.conns {
		if c.sessions.Load() == 0 {
			_ = c.Close()
		}
	}
}

// eachSession calls do for every session.
func (s *Server) eachSession(do func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sessions := range s.sessionsOf {
		for x := range sessions {
			do(x)
		}
	}
}

// doneChan returns a channel that is closed when the group is done, by a
// goroutine that ends then.
func doneChan(g *sync.WaitGroup) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		g.Wait()
		close(c)
	}()
	return c
}

// within reports whether the channel was closed in time.
func within(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
