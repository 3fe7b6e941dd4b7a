package sshd

import (
	"net/netip"
	"sync"
	"time"
)

const (
	knockBurst  = 100         // logins that an address may have under way or failed
	knockRefill = time.Second // until one of the failed is forgotten
	knockPlaces = 4096        // addresses that are remembered
)

// knocks limits how often an address may fail to log in: each connection
// takes a token from its address, and a successful login gives it back.
type knocks struct {
	now func() time.Time

	mu      sync.Mutex
	swept   time.Time
	buckets map[netip.Addr]*bucket
}

// bucket holds what an address had left at a time. One that would be full is
// the same as none.
type bucket struct {
	tokens float64
	at     time.Time
	told   bool // that the address was refused
}

func newKnocks(now func() time.Time) *knocks {
	return &knocks{now: now, buckets: map[netip.Addr]*bucket{}}
}

// take takes a token of the address; not ok when it has none left, and tell
// when that is new.
func (k *knocks) take(from netip.Addr) (ok, tell bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.bucket(from)
	if b.tokens < 1 {
		tell, b.told = !b.told, true
		return false, tell
	}
	b.tokens--
	b.told = false
	return true, false
}

// giveBack returns the token of a connection that logged in.
func (k *knocks) giveBack(from netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.bucket(from)
	if b.tokens++; b.tokens >= knockBurst {
		delete(k.buckets, network(from))
	}
}

// bucket returns the address's bucket as it is now.
func (k *knocks) bucket(from netip.Addr) *bucket {
	now, key := k.now(), network(from)
	b := k.buckets[key]
	if b == nil {
		k.makeRoom(now)
		b = &bucket{tokens: knockBurst, at: now}
		k.buckets[key] = b
	}
	b.refill(now)
	return b
}

func (b *bucket) refill(now time.Time) {
	b.tokens = min(knockBurst, b.tokens+float64(now.Sub(b.at))/float64(knockRefill))
	b.at = now
}

// makeRoom forgets addresses that are as good as new, or any one: looking
// through them all is for once a second.
func (k *knocks) makeRoom(now time.Time) {
	if len(k.buckets) < knockPlaces {
		return
	}
	if now.Sub(k.swept) >= time.Second {
		k.swept = now
		for key, b := range k.buckets {
			if b.refill(now); b.tokens >= knockBurst {
				delete(k.buckets, key)
			}
		}
	}
	for key := range k.buckets {
		if len(k.buckets) < knockPlaces {
			return
		}
		delete(k.buckets, key)
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
