package sshd

import (
	"net/netip"
	"sync"
	"time"
)

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
