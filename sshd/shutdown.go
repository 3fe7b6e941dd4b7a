package sshd

import (
	"context"
	"errors"
	"sync"
	"time"
)

// parting is how long cancelled commands get to end, and clients to hang up by
// themselves after their last session.
const parting = 2 * time.Second

var (
	errStopping = errors.New("the server stops")
	errRemoved  = errors.New("the user or the key was removed")
)

// Shutdown ends the server: no new connections and sessions from now on,
// shells and scripts that wait for input end at once, running commands when
// they are done or when ctx ends, which cancels them. The error is ctx's when
// it had to cancel. Shutdown returns when everything has ended, or a few
// seconds after ctx when a command does not obey.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()

	sessions, connections := done(&s.sessions), done(&s.connections)
	s.each((*session).drain)
	var err error
	select {
	case <-sessions:
	case <-ctx.Done():
		err = ctx.Err()
		s.each(func(x *session) { x.cancel(errStopping) })
	}
	if within(parting, sessions) {
		within(parting, connections)
	}
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	if !within(parting, connections) || !within(parting, sessions) {
		return errors.New("a command that was cancelled did not end")
	}
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

// done returns a channel that is closed when the group is done, by a goroutine
// that ends then.
func done(g *sync.WaitGroup) <-chan struct{} {
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
