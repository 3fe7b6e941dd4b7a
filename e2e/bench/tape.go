//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/netboot/nfs"
)

// tape is what one machine asks an NFS server for on one connection: its calls, and
// how many answers were on their way to it before each.
type tape struct {
	mu       sync.Mutex
	calls    []taped
	answers  int
	answered int64  // bytes
	rest     []byte // of a call that has not come as a whole
}

type taped struct {
	record []byte
	after  int // answers
}

// recordSize is how long the record is that begins with a mark, with the mark: RFC 5531,
// section 11. A record in several pieces is none of Linux.
func recordSize(b []byte) int { return 4 + int(binary.BigEndian.Uint32(b)&^(1<<31)) }

// came notes bytes from the machine.
func (t *tape) came(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest = append(t.rest, b...)
	for len(t.rest) >= 4 && len(t.rest) >= recordSize(t.rest) {
		n := recordSize(t.rest)
		t.calls = append(t.calls, taped{slices.Clone(t.rest[:n]), t.answers})
		t.rest = t.rest[n:]
	}
}

// went notes bytes to the machine, which are whole answers.
func (t *tape) went(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered += int64(len(b))
	for len(b) > 0 {
		t.answers++
		b = b[recordSize(b):]
	}
}

// taping is the listener of a shop, whose tape records.
type taping struct {
	net.Listener
	shop *shop
}

func (l taping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.shop.mu.Lock()
	defer l.shop.mu.Unlock()
	if !l.shop.recording {
		return c, nil
	}
	t := &tape{}
	l.shop.tapes = append(l.shop.tapes, t)
	return &tapedConn{c, t}, nil
}

type tapedConn struct {
	net.Conn
	tape *tape
}

func (c *tapedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tape.came(p[:n])
	return n, err
}

func (c *tapedConn) Write(p []byte) (int, error) {
	c.tape.went(p) // before: the machine may be quicker
	return c.Conn.Write(p)
}

// record boots a machine, and returns what it asked for.
func (s *shop) record(m model) (*tape, error) {
	s.mu.Lock()
	s.recording, s.tapes = true, nil
	s.mu.Unlock()
	_, err := s.boot(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recording = false
	if err != nil {
		return nil, err
	}
	best := &tape{}
	for _, t := range s.tapes { // mounting has a connection of its own
		if t.answered > best.answered {
			best = t
		}
	}
	if len(best.calls) == 0 {
		return nil, errors.New("a machine asked the NFS server for nothing")
	}
	return best, nil
}

// linkSpeed is that of the link of a replay, in bytes a second: a gigabit.
const linkSpeed = 125_000_000

// link is the one cable to all machines: what is written takes its time, one after the
// other. It has no end of its own: the machines end their connections.
type link struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	free time.Time // when all is sent that was written
	sent int64     // bytes
}

func (l *link) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *link) Addr() net.Addr { return &net.TCPAddr{} }

// cable is the server's end of the connection of a machine.
type cable struct {
	net.Conn
	link *link
	from net.Addr
}

func (c *cable) RemoteAddr() net.Addr { return c.from }

func (c *cable) Write(p []byte) (int, error) {
	l := c.link
	l.mu.Lock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(len(p)) * time.Second / linkSpeed)
	l.sent += int64(len(p))
	until := l.free
	l.mu.Unlock()
	time.Sleep(time.Until(until))
	return c.Conn.Write(p)
}

// replay has machines ask for what is on the tape, all at once: each makes a call as
// soon as it has the answers that came before it on the tape. It returns when the first
// and the last machine had all, and how long the link takes for the bytes alone.
func (t *tape) replay(exports nfs.Exports, machines int) (first, last, alone time.Duration, err error) {
	l := &link{accepted: make(chan net.Conn), closed: make(chan struct{})}
	server := &nfs.Server{Exports: exports, Log: slog.New(slog.DiscardHandler)}
	go server.Serve(l) // ends with the server
	defer server.Close()
	done := make([]time.Duration, machines)
	var g errgroup.Group
	begun := time.Now()
	for k := range machines {
		here, there := net.Pipe()
		l.accepted <- &cable{there, l, &net.TCPAddr{IP: net.IPv4(10, 0, 1, byte(k+1)), Port: 700}}
		g.Go(func() error {
			defer here.Close()
			err := t.play(here)
			done[k] = time.Since(begun)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, 0, 0, err
	}
	return slices.Min(done), slices.Max(done), time.Duration(float64(l.sent) / linkSpeed * float64(time.Second)), nil
}

// play is one machine.
func (t *tape) play(conn net.Conn) error {
	answers := make(chan struct{}, len(t.calls))
	failed := make(chan error, 1)
	go func() { // ends with the connection
		in := bufio.NewReaderSize(conn, 256<<10)
		for range t.calls {
			mark, err := in.Peek(4)
			if err == nil {
				_, err = in.Discard(recordSize(mark))
			}
			if err != nil {
				failed <- fmt.Errorf("an answer of a replay: %w", err)
				return
			}
			answers <- struct{}{}
		}
	}()
	got := 0
	wait := func(n int) error {
		for ; got < n; got++ {
			select {
			case <-answers:
			case err := <-failed:
				return err
			}
		}
		return nil
	}
	for _, c := range t.calls {
		if err := wait(c.after); err != nil {
			return err
		}
		if _, err := conn.Write(c.record); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return err
		}
	}
	return wait(len(t.calls))
}
