package lab

import (
	"io"
	"net"
	"sync"
)

// Gate stands before a registry, on an address of its own, and decides how much
// of its answers comes through: what a slow or a broken network does. It is open
// at first.
type Gate struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	turn  *sync.Cond
	shut  bool
	limit int64              // bytes that come through a shut gate on one connection
	conns map[net.Conn]int64 // the bytes that came through since the gate was shut
	all   sync.WaitGroup
}

// NewGate opens a gate to an address, until Close is called.
func NewGate(to string) (*Gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{listener: l, to: to, conns: map[net.Conn]int64{}}
	g.turn = sync.NewCond(&g.mu)
	g.all.Go(g.accept)
	return g, nil
}

// URL is where the registry is behind the gate.
func (g *Gate) URL() string { return "http://" + g.listener.Addr().String() }

// Shut lets so many more bytes of answers through on each connection, and holds
// what follows: small answers come through, large ones stop in the middle.
func (g *Gate) Shut(after int64) { g.set(true, after) }

// Open lets everything through.
func (g *Gate) Open() { g.set(false, 0) }

func (g *Gate) set(shut bool, limit int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.limit = shut, limit
	for c := range g.conns {
		g.conns[c] = 0
	}
	g.turn.Broadcast()
}

// Cut breaks every connection, as a registry that is killed does.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
	g.turn.Broadcast()
}

// Close ends the gate and every connection through it.
func (g *Gate) Close() {
	g.listener.Close()
	g.Open()
	g.Cut()
	g.all.Wait()
}

func (g *Gate) accept() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.to)
		if err != nil { // the registry is down
			in.Close()
			continue
		}
		g.mu.Lock()
		g.conns[in], g.conns[out] = 0, 0
		g.mu.Unlock()
		g.all.Go(func() {
			io.Copy(out, in)
			out.Close()
		})
		g.all.Go(func() {
			io.Copy(&through{in, g}, out)
			in.Close()
		})
	}
}

// through writes what the gate lets through.
type through struct {
	net.Conn
	gate *Gate
}

func (t *through) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n := t.gate.pass(t.Conn, len(p)-written)
		if n == 0 {
			return written, io.ErrClosedPipe
		}
		n, err := t.Conn.Write(p[written : written+n])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// pass waits until bytes may go through, and returns how many; 0 when the
// connection was cut.
func (g *Gate) pass(c net.Conn, want int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		came, open := g.conns[c]
		switch {
		case !open:
			return 0
		case !g.shut:
			return want
		case came < g.limit:
			n := min(int64(want), g.limit-came)
			g.conns[c] += n
			return int(n)
		}
		g.turn.Wait()
	}
}
