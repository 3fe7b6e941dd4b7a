package sshd

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// inBubble runs a test of what takes time in a bubble, where clients are connected in
// memory: time passes there when all wait, however busy the machine is. change may
// adjust the server before, or is nil.
func inBubble(t *testing.T, change func(*Server), test func(t *testing.T, l *lab)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wires{made: make(chan net.Conn), closed: make(chan struct{})}
		test(t, serveLab(t, w, w.connect, change))
	})
}

// wires is a listener for clients in memory.
type wires struct {
	made   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *wires) connect() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case w.made <- newHasty(there):
		return newHasty(here), nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wires) Accept() (net.Conn, error) {
	select {
	case c := <-w.made:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wires) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wires) Addr() net.Addr { return &net.IPAddr{} }

// hasty is a side of a connection that does not wait until the other reads what it
// writes, as long as that is little.
type hasty struct {
	net.Conn
	out    chan []byte
	once   sync.Once
	closed chan struct{}
}

func newHasty(c net.Conn) *hasty {
	h := &hasty{Conn: c, out: make(chan []byte, 100), closed: make(chan struct{})}
	go func() { // ends with the connection
		for {
			select {
			case p := <-h.out:
				_, _ = h.Conn.Write(p) // an error ends the reading, too
			case <-h.closed:
				return
			}
		}
	}()
	return h
}

func (h *hasty) Write(p []byte) (int, error) {
	select {
	case h.out <- bytes.Clone(p):
		return len(p), nil
	case <-h.closed:
		return 0, net.ErrClosed
	}
}

func (h *hasty) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}
