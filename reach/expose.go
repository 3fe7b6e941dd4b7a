package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"walt/fault"
	"walt/nodes"
)

const (
	// lookEvery is how often it is looked, while some node is exposed, which of them are up.
	lookEvery = time.Second
	// mostVisitors is how many connections an exposed port has at once; more are closed.
	mostVisitors = 128
	// mostOfAll is how many all of them have together: each takes two files of the server, and
	// who comes there nobody knows.
	mostOfAll = 1024
)

// gates are the ports of the server that lead to nodes, by number.
type gates struct {
	mu    sync.Mutex
	open  map[int]*gate
	wrong map[int]string // why those are not open that should be

	visitors atomic.Int32 // connections to all of them
}

// gate is one of them, while its node is up.
type gate struct {
	nodes.Exposure
	listener net.Listener
	end      context.CancelFunc // ends its connections
	served   sync.WaitGroup
}

// Run opens the ports of the server at which nodes are exposed that are up, and closes them
// when these are not any more, until ctx ends.
func (d *Doors) Run(ctx context.Context) error {
	defer d.open(context.Background(), nil)
	changed := d.Store.Watch(nodes.ExposedRows())
	defer changed.Close()
	for {
		all, err := d.Exposures(ctx)
		switch {
		case err == nil:
			d.open(ctx, all)
		case ctx.Err() == nil:
			d.Log.Error("look which nodes are exposed", "err", err)
		}
		wait, cancel := ctx, func() {}
		if len(all) > 0 || err != nil {
			wait, cancel = context.WithTimeout(ctx, lookEvery)
		}
		_, _ = changed.Next(wait) // why it ends does not matter
		cancel()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// open has exactly the ports open whose nodes are up.
func (d *Doors) open(ctx context.Context, all []nodes.Exposure) {
	wanted := map[int]nodes.Exposure{}
	for _, e := range all {
		if e.Up {
			wanted[e.Port] = e
		}
	}
	d.gates.mu.Lock()
	defer d.gates.mu.Unlock()
	if d.gates.open == nil {
		d.gates.open, d.gates.wrong = map[int]*gate{}, map[int]string{}
	}
	for port, g := range d.gates.open {
		if wanted[port] != g.Exposure {
			g.close()
			delete(d.gates.open, port)
		}
	}
	for port := range d.gates.wrong {
		if _, is := wanted[port]; !is {
			delete(d.gates.wrong, port)
		}
	}
	for port, e := range wanted {
		if d.gates.open[port] != nil {
			continue
		}
		listener, err := d.listen(port)
		if err != nil {
			why := taken(err)
			if d.gates.wrong[port] != why {
				d.Log.Warn("a port of the server cannot lead to its node", "port", port, "node", e.Node, "err", err)
			}
			d.gates.wrong[port] = why
			continue
		}
		delete(d.gates.wrong, port)
		serving, end := context.WithCancel(context.WithoutCancel(ctx))
		g := &gate{Exposure: e, listener: listener, end: end}
		d.gates.open[port] = g
		g.served.Go(func() { d.accept(serving, g) }) // ends with close
	}
}

func (d *Doors) listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort(d.Host, strconv.Itoa(port)))
}

// taken says in a few words why a port cannot be listened on.
func taken(err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return "taken by another program"
	}
	return "not possible: " + errors.Unwrap(err).Error()
}

// Free is a fault unless the server may listen on a port, or does so for a node.
func (d *Doors) Free(port int) error {
	if port == d.Own {
		return fault.Failedf("port %d of the server is its own, for SSH; nothing changed", port).WithHint("choose another port")
	}
	d.gates.mu.Lock()
	defer d.gates.mu.Unlock()
	if d.gates.open[port] != nil {
		return nil
	}
	l, err := d.listen(port)
	if err != nil {
		return fault.Failedf("port %d of the server is %s; nothing changed", port, taken(err)).WithHint("choose another port")
	}
	return l.Close()
}

// Wrong says in words for users why a port is not open that should be, "" when it is.
func (d *Doors) Wrong(port int) string {
	d.gates.mu.Lock()
	defer d.gates.mu.Unlock()
	return d.gates.wrong[port]
}

// close ends a gate and its connections.
func (g *gate) close() {
	g.listener.Close()
	g.end()
	g.served.Wait()
}

// accept serves who comes to a gate, until it is closed.
func (d *Doors) accept(ctx context.Context, g *gate) {
	turns := make(chan struct{}, mostVisitors)
	for {
		c, err := g.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no file descriptor left, or a client that is gone already
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case turns <- struct{}{}:
			g.served.Go(func() { // ends with ctx, or its connection
				defer func() { <-turns }()
				defer c.Close()
				defer d.gates.visitors.Add(-1)
				if d.gates.visitors.Add(1) > mostOfAll {
					return
				}
				if err := d.lead(ctx, g, c); err != nil {
					d.Log.Debug("a visitor of an exposed port was turned away", "port", g.Port, "node", g.Node, "err", err)
				}
			})
		default:
			c.Close()
		}
	}
}

// lead passes on what a visitor and the node say, as long as its owner has it.
func (d *Doors) lead(ctx context.Context, g *gate, visitor net.Conn) error {
	w, err := d.Enter(ctx, g.Owner, g.Node, 0)
	if err != nil {
		return err
	}
	defer w.Leave()
	if w.Owner() != g.Owner { // by now: it is free, or of somebody who shares it with who had it
		return fmt.Errorf("%s is not of %s any more", g.Node, g.Owner)
	}
	node, err := w.Dial(w.Context(), g.To)
	if err != nil {
		return err
	}
	defer node.Close()
	left := d.trail.exposed(g.Exposure, source(visitor))
	defer func() { left(cut(w)) }()
	defer context.AfterFunc(w.Context(), func() {
		node.Close()
		visitor.Close()
	})()
	var back sync.WaitGroup
	back.Go(func() { pass(visitor, node) }) // ends with the node's connection
	pass(node, visitor)
	back.Wait()
	return nil
}

// source is the address that a connection comes from.
func source(c net.Conn) string {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return at.Addr().Unmap().String()
}

// pass passes on what one side says to the other, and that it said all. When that fails, it
// closes both.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, can := to.(interface{ CloseWrite() error })
	if err == nil && can {
		err = half.CloseWrite()
	}
	if err != nil || !can {
		to.Close()
		from.Close()
	}
}
