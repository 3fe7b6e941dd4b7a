// Package crowd bounds what those on a network have open at once, each of them and all
// together: connections, files, questions. What that is, and what becomes of more, is not
// its business. Its one surprising rule: nobody waits; who has too much is told at once.
package crowd

import (
	"net/netip"
	"sync"
)

// Crowd counts what addresses have open. Its methods may be called at the same time.
type Crowd struct {
	each, all int

	mu   sync.Mutex
	open map[netip.Addr]int
	sum  int // of open
}

// New returns a crowd of whom each may have so much open, and all together so much.
func New(each, all int) *Crowd { return &Crowd{each: each, all: all, open: map[netip.Addr]int{}} }

// Enter counts one more of an address, until Leave; false when there are too many.
func (c *Crowd) Enter(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sum == c.all || c.open[from] == c.each {
		return false
	}
	c.sum++
	c.open[from]++
	return true
}

// Leave takes back one Enter.
func (c *Crowd) Leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum--
	if c.open[from]--; c.open[from] == 0 {
		delete(c.open, from)
	}
}
