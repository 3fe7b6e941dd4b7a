package remote

import (
	"io"
	"net"
	"sync"
)

// mostAhead is how much, in bytes, is read of a node beyond what its user takes.
// The library would keep 2 MiB.
const mostAhead = 64 << 10

// relay lets the connection to a node wait for the user: nothing is read of it
// while the user takes nothing, and enough is at hand.
type relay struct {
	mu      sync.Mutex
	changed sync.Cond
	writing int // writes to the user that are not done
	ahead   int // bytes that were read of the node since the user had all
	closed  bool
}

func newRelay() *relay {
	r := new(relay)
	r.changed.L = &r.mu
	return r
}

// relayed is the connection to the node.
type relayed struct {
	net.Conn
	*relay
}

func (c relayed) Read(p []byte) (int, error) {
	c.mu.Lock()
	for c.writing > 0 && c.ahead > mostAhead && !c.closed {
		c.changed.Wait()
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += n
	return n, err
}

// Close ends a Read, too.
func (c relayed) Close() error {
	c.mu.Lock()
	c.closed = true
	c.changed.Broadcast()
	c.mu.Unlock()
	return c.Conn.Close()
}

// toUser is one stream of output to the user.
type toUser struct {
	w io.Writer
	*relay
}

// copySize is how much io.Copy, which brings the output, brings at once: when it
// brings less, there was no more.
const copySize = 32 << 10

func (u toUser) Write(p []byte) (int, error) {
	u.mu.Lock()
	if u.writing++; len(p) < copySize && u.writing == 1 {
		u.ahead = 0
	}
	u.mu.Unlock()
	n, err := u.w.Write(p)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writing--
	u.ahead = max(0, u.ahead-n)
	u.changed.Broadcast()
	return n, err
}
