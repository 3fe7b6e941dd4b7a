package nodes

import (
	"context"
	"sync"
	"time"

	"walt/auth"
	"walt/ethernet"
)

// tieGrace is for how long a node that is tied to connections of its owner is held without
// one: who lost it connects again.
const tieGrace = 30 * time.Second

// tie is a node in the hands of an owner.
type tie struct {
	mac   ethernet.MAC
	owner auth.Name
}

func (d *Device) tie() tie { return tie{d.MAC, d.Owner()} }

// tied returns the device if it is held only while its owner is connected, else nil.
func (d *Device) tied() *Device {
	if d == nil || d.Said == nil || !d.Said.Tied {
		return nil
	}
	return d
}

// ties are the connections to which nodes are tied. They are in memory alone: when the
// server starts, the time begins anew that nodes are held without.
type ties struct {
	mu      sync.Mutex
	open    map[tie]int
	loose   map[tie]time.Time // since when there is none
	changed chan struct{}     // closed when that changes
}

func newTies() *ties {
	return &ties{open: map[tie]int{}, loose: map[tie]time.Time{}, changed: make(chan struct{})}
}

// add counts connections, or fewer.
func (t *ties) add(k tie, n int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[k] += n; t.open[k] == 0 {
		delete(t.open, k)
		t.loose[k] = now
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// renew has the time begin anew that a node is held without a connection.
func (t *ties) renew(k tie, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loose[k] = now
}

// left returns how long the node is held still, when none of its connections is open.
func (t *ties) left(k tie, now time.Time) (left time.Duration, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[k] > 0 {
		return 0, true
	}
	since, known := t.loose[k]
	if !known {
		since = now
		t.loose[k] = now
	}
	return tieGrace - now.Sub(since), false
}

// keep forgets all nodes but these, and returns what is closed when a connection comes or
// goes.
func (t *ties) keep(tied map[tie]bool) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.loose {
		if !tied[k] {
			delete(t.loose, k)
		}
	}
	return t.changed
}

// Tie holds the user's nodes among these that are tied (see Remarks) until channel ends, and
// for half a minute then.
func (l *Lab) Tie(channel context.Context, user auth.Name, some []Name) error {
	var all []tie
	err := l.view.Read(channel, func() {
		for _, n := range some {
			if d := l.view.named[n]; d.tied() != nil && d.Owner() == user {
				all = append(all, d.tie())
			}
		}
	})
	for _, k := range all {
		l.ties.add(k, 1, l.Now())
	}
	context.AfterFunc(channel, func() {
		for _, k := range all {
			l.ties.add(k, -1, l.Now())
		}
	})
	return err
}

// tieMoved has the tied nodes that the change gave to somebody count as connected until it is
// called back: who waits for their restarts, which may take longer than nodes are held without
// a connection, ties them then.
func (c *change) tieMoved() (back func()) {
	var all []tie
	for _, m := range c.moved {
		if m.Device.tied() != nil && !m.Free() {
			all = append(all, m.tie())
			c.lab.ties.add(m.tie(), 1, c.lab.Now())
		}
	}
	return func() {
		for _, k := range all {
			c.lab.ties.add(k, -1, c.lab.Now())
		}
	}
}

// Untied waits until none of the nodes is the user's any more, and tied; or for the end of
// ctx, whose error it returns.
func (l *Lab) Untied(ctx context.Context, user auth.Name, some []Name) error {
	for {
		var changed <-chan struct{}
		tied := false
		err := l.view.Read(ctx, func() {
			changed = l.view.held
			for _, n := range some {
				d := l.view.named[n]
				tied = tied || d.tied() != nil && d.Owner() == user
			}
		})
		if err != nil || !tied {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
