// Package nfs serves the files of images to machines that boot, as a read-only
// file system over the network: NFS version 3 (RFC 1813), its protocol of mounting
// and that of its access control lists, all on one TCP port. It does not know which
// machine may see which image: it asks (Exports). Its one surprising rule: it
// remembers nothing of its clients. A handle is made of the image's digest and the
// file's number in it, so machines go on over a restart of the server, or another
// server, as if nothing had happened.
package nfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"walt/images/content"
)

// Exports says who may see which image. It is asked at every call, by many
// goroutines: it should take a look-up in a map.
type Exports interface {
	// Tree returns the files of the image if the machine with the address runs it
	// or is to run it, else nil. Who implements it holds the tree and keeps the
	// image's content from being collected for as long; a tree that is made again
	// must be numbered again. When that cannot be told yet, it is an error: it is
	// logged, and the client waits and asks again.
	Tree(ctx context.Context, client netip.Addr, image ID) (*content.Tree, error)
}

// Server serves images. Its fields are set before Serve, and a limit of 0 is the
// default one.
type Server struct {
	Exports Exports
	Log     *slog.Logger
	// Warn is told what a client does wrong, as often as it does; nil: Log is.
	Warn func(from netip.Addr, what string, args ...any)

	// Of connections that are more than these, the one that was silent for the
	// longest time is closed: its client, if it is still there, comes again.
	MaxConns        int // 2048
	MaxConnsPerAddr int // 8: a machine that lost its power left one, too
	// Connections end when a client is silent, or takes no answer, for so long, or
	// for half of it already when it was busy before.
	IdleTimeout  time.Duration // 15 min
	WriteTimeout time.Duration // 1 min, for at most 160 KiB

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	ended     map[netip.Addr]int64 // bytes of contents that were sent on connections that are no more
	running   sync.WaitGroup
	ctx       context.Context // ends with the server
	cancel    context.CancelFunc
}

// Serve serves those who connect to the listener, which is closed at the end. It
// returns nil after Close. Several listeners may be served at a time.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.begin(l) {
		return nil
	}
	defer s.end(l)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.admit(nc)
		case s.ctx.Err() != nil:
			return nil
		case !passes(err):
			return fmt.Errorf("accept connections: %w", err)
		default:
			s.Log.Warn("nfs: a connection could not be accepted", "err", err)
			select {
			case <-s.ctx.Done():
			case <-time.After(acceptAgain):
			}
		}
	}
}

// acceptAgain is how long there is no other try after what passes.
const acceptAgain = time.Second

// passes reports whether an error is that there are too many files or connections
// for now. What a listener says that was closed depends on its kind.
func passes(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED},
		func(known error) bool { return errors.Is(err, known) })
}

// begin counts a listener; false after Close.
func (s *Server) begin(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
		s.listeners, s.conns, s.ended = map[net.Listener]struct{}{}, map[*conn]struct{}{}, map[netip.Addr]int64{}
	}
	s.listeners[l] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) end(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	s.running.Done()
}

// Close ends all connections and calls of Serve, and returns when they are over.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// admit serves a connection in a goroutine of its own, which ends with it; Close
// closes it.
func (s *Server) admit(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close()
		return
	}
	if victim := s.surplus(c.from); victim != nil {
		_ = victim.nc.Close()
		delete(s.conns, victim)
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		c.serve()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		if n := c.call.read.Load(); n > 0 {
			s.ended[c.from] += n
		}
	}()
}

// Read is how many bytes of the contents of files the client with an address was sent since
// the server began.
func (s *Server) Read(client netip.Addr) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.ended[client]
	for c := range s.conns {
		if c.from == client {
			sum += c.call.read.Load()
		}
	}
	return sum
}

// surplus returns the connection that has to go when there is one more from the
// address: that from there, or else of all, which was silent for the longest time.
func (s *Server) surplus(from netip.Addr) *conn {
	var here, all *conn
	n := 0
	for c := range s.conns {
		if all == nil || c.lastCall.Load() < all.lastCall.Load() {
			all = c
		}
		if c.from != from {
			continue
		}
		n++
		if here == nil || c.lastCall.Load() < here.lastCall.Load() {
			here = c
		}
	}
	switch {
	case n >= cmp.Or(s.MaxConnsPerAddr, 8):
		return here
	case len(s.conns) >= cmp.Or(s.MaxConns, 2048):
		return all
	}
	return nil
}

// warn tells what a client does wrong.
func (s *Server) warn(from netip.Addr, what string, args ...any) {
	what = "nfs: " + what
	if s.Warn == nil {
		s.Log.Warn(what, append([]any{"from", from}, args...)...)
		return
	}
	s.Warn(from, what, args...)
}
