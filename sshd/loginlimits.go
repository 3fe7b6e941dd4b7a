package sshd

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"walt/auth"
)

const (
	maxLogins     = 1000 // connections that nobody has logged in on yet
	maxLoginsFrom = 64   // of those, the ones of an address that are served at once; the others wait
	maxAuthTries  = 20   // keys that a login may offer: an agent has a number of them
)

// logins are the connections that nobody has logged in on yet. They have a
// bound of their own, so that they take no place of those who are logged in;
// beyond it the address that has most of them loses one.
type logins struct {
	most   int                // that there may be
	all    []*conn            // in the order of their coming
	served map[netip.Addr]int // how many of them are served, by network
	told   time.Time          // when it was logged last that there are too many
}

// add begins with a connection. The one that must go for it, if any, is
// returned, to be closed.
func (l *logins) add(c *conn) (victim *conn) {
	if len(l.all) >= l.most {
		victim = l.victim()
		l.remove(victim)
	}
	l.all = append(l.all, c)
	l.serve(c)
	return victim
}

// serve tells a connection that it is its turn, unless its address has enough
// of them.
func (l *logins) serve(c *conn) {
	from := network(c.from)
	if c.served || l.served[from] >= maxLoginsFrom {
		return
	}
	l.served[from]++
	c.served = true
	close(c.turn)
}

// remove ends with a connection: somebody logged in on it, or it is closed. The
// next of the address has its turn.
func (l *logins) remove(c *conn) {
	i := slices.Index(l.all, c)
	if i < 0 {
		return
	}
	l.all = slices.Delete(l.all, i, i+1)
	if !c.served {
		return
	}
	from := network(c.from)
	if l.served[from]--; l.served[from] == 0 {
		delete(l.served, from)
	}
	for _, next := range l.all {
		if !next.served && network(next.from) == from {
			l.serve(next)
			return
		}
	}
}

// victim is the oldest connection of the address that has most of them; one
// that nothing was heard of goes before others.
func (l *logins) victim() *conn {
	count, most := map[netip.Addr]int{}, 0
	for _, c := range l.all {
		count[network(c.from)]++
		most = max(most, count[network(c.from)])
	}
	var oldest *conn
	for _, c := range l.all {
		if count[network(c.from)] < most {
			continue
		}
		if c.served && !c.heard.Load() {
			return c
		}
		if oldest == nil {
			oldest = c
		}
	}
	return oldest
}

// places are the connections that somebody is logged in on.
type places struct {
	taken   int
	takenBy map[auth.Name]int
	told    map[auth.Name]time.Time // when it was logged last that a user got none
}

// take takes one of most places for a user, or says why there is none. Nobody
// has more than half of them, and the last twentieth is for administrators.
func (p *places) take(login auth.Login, most int) (refusal string) {
	free := most - p.taken
	if !login.Admin {
		free -= most / 20
	}
	switch {
	case p.takenBy[login.User] >= (most+1)/2:
		return "you have too many connections open: close some"
	case free <= 0:
		return "the server has too many connections: try again later"
	}
	p.taken++
	p.takenBy[login.User]++
	return ""
}

// leave gives the place of a user back.
func (p *places) leave(user auth.Name) {
	p.taken--
	if p.takenBy[user]--; p.takenBy[user] == 0 {
		delete(p.takenBy, user)
	}
}

const (
	loginBurst   = 100         // logins of an address that may fail
	loginRefill  = time.Second // until one of the failed is forgotten
	maxAddresses = 4096        // that are remembered
)

// rateLimit limits how often an address may fail to log in. Each address has a
// token bucket, from which a connection on which nobody logged in takes a token
// when it ends.
//
// A flood from many addresses cannot make it grow: when there are too many
// buckets, those that are full again go first, then any. An address whose
// bucket goes begins anew, so who has thousands of addresses gains nothing by
// that which they do not have already.
type rateLimit struct {
	now func() time.Time

	mu      sync.Mutex
	swept   time.Time // when full buckets were looked for last
	buckets map[netip.Addr]*bucket
}

// bucket holds the tokens that an address had left at a time. A full one is the
// same as none.
type bucket struct {
	tokens  float64
	at      time.Time
	refused bool // the last connection was refused
}

func newRateLimit(now func() time.Time) *rateLimit {
	return &rateLimit{now: now, buckets: map[netip.Addr]*bucket{}}
}

// allow reports whether the address may try; first is true when it may not and
// the last one still was allowed.
func (l *rateLimit) allow(from netip.Addr) (ok, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[network(from)]
	if b == nil {
		return true, false
	}
	if b.refill(l.now()); b.tokens < 1 {
		first, b.refused = !b.refused, true
		return false, first
	}
	b.refused = false
	return true, false
}

// fail takes a token of the address.
func (l *rateLimit) fail(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), network(from)
	b := l.buckets[key]
	if b == nil {
		l.evict(now)
		b = &bucket{tokens: loginBurst, at: now}
		l.buckets[key] = b
	}
	b.refill(now)
	b.tokens = max(0, b.tokens-1)
}

func (b *bucket) refill(now time.Time) {
	b.tokens = min(loginBurst, b.tokens+float64(now.Sub(b.at))/float64(loginRefill))
	b.at = now
}

// evict makes room for one more bucket. It looks through all of them for full
// ones at most once a second.
func (l *rateLimit) evict(now time.Time) {
	if len(l.buckets) < maxAddresses {
		return
	}
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for key, b := range l.buckets {
			if b.refill(now); b.tokens >= loginBurst {
				delete(l.buckets, key)
			}
		}
	}
	for key := range l.buckets {
		if len(l.buckets) < maxAddresses {
			return
		}
		delete(l.buckets, key)
	}
}

// network is what counts as one address: a single IPv4 address, or the /64
// that one IPv6 host chooses its addresses from.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
