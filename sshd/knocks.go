package sshd

import (
	"net/netip"
	"sync"
	"time"
)

const (
	knockBurst  = 100         // logins that an address may have under way or failed
	knockRefill = time.Second // until one of the failed is forgotten
	knockRooms  = 4096        // addresses that are remembered
)

// knocks limits how often an address may fail to log in: each connection
// takes a token from its address, and a successful login gives it back.
type knocks struct {
	now func() time.Time

	mu    sync.Mutex
	rooms map[netip.Addr]*bucket
}

// bucket holds what an address had left at a time. One that would be full is
// the same as none.
type bucket struct {
	tokens float64
	at     time.Time
	told   bool // that the address was refused
}

func newKnocks(now func() time.Time) *knocks {
	return &knocks{now: now, rooms: map[netip.Addr]*bucket{}}
}

// take takes a token of the address; not ok when it has none left, and tell
// when that is new.
func (k *knocks) take(from netip.Addr) (ok, tell bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.room(from)
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
	b := k.room(from)
	if b.tokens++; b.tokens >= knockBurst {
		delete(k.rooms, network(from))
	}
}

// room returns the address's bucket as it is now.
func (k *knocks) room(from netip.Addr) *bucket {
	now, key := k.now(), network(from)
	b := k.rooms[key]
	if b == nil {
		k.makeRoom(now)
		b = &bucket{tokens: knockBurst, at: now}
		k.rooms[key] = b
	}
	b.refill(now)
	return b
}

func (b *bucket) refill(now time.Time) {
	b.tokens = min(knockBurst, b.tokens+float64(now.Sub(b.at))/float64(knockRefill))
	b.at = now
}

// makeRoom forgets addresses that are as good as new, or any when all are in
// use.
func (k *knocks) makeRoom(now time.Time) {
	if len(k.rooms) < knockRooms {
		return
	}
	for key, b := range k.rooms {
		if b.refill(now); b.tokens >= knockBurst {
			delete(k.rooms, key)
		}
	}
	for key := range k.rooms {
		if len(k.rooms) < knockRooms {
			return
		}
		delete(k.rooms, key)
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
