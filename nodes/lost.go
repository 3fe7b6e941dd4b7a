package nodes

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"walt/pause"
	"walt/remote"
)

const (
	// lostLimit is for how long nothing may come of a node whose agent is gone before it
	// is unreachable.
	lostLimit = 15 * time.Second
	lostEvery = 3 * time.Second
)

// loss is a node whose agent is gone, and when something of it came last.
type loss struct {
	node  Name
	since time.Time
	about string // what may be the reason, in words for users; "" when nothing is known
}

// losses are those that nobody looks after yet.
type losses struct {
	mu   sync.Mutex
	all  []loss
	some chan struct{} // receives after there are some
}

func newLosses() *losses { return &losses{some: make(chan struct{}, 1)} }

func (l *losses) add(one loss) {
	l.mu.Lock()
	l.all = append(l.all, one)
	l.mu.Unlock()
	select {
	case l.some <- struct{}{}:
	default:
	}
}

func (l *losses) take() []loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// Lost is called when the connection of a node's agent has ended; heard is when it last
// said something, about what may be the reason, in words for users, if anything is known.
// The node is up as long as its SSH server answers.
func (l *Lab) Lost(n Name, heard time.Time, about string) {
	lost := false
	l.status.change(n, func(s *Status) {
		if lost = s.State == Up; lost {
			s.alone = heard
		}
	})
	if lost {
		l.losses.add(loss{n, heard, about})
	}
}

// watchLost looks after nodes whose agents are gone, until ctx ends.
func (l *Lab) watchLost(ctx context.Context) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		for _, one := range l.losses.take() {
			calls.Go(func() { l.call(ctx, one) }) // ends when the node is heard of, or silent for long, or with ctx
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.losses.some:
		}
	}
}

// call calls the SSH server of a node whose agent is gone until that is back. When
// nothing comes for some time the node is unreachable: not before it was asked, and time
// in which the server itself did not run does not count.
func (l *Lab) call(ctx context.Context, one loss) {
	last := one.since
	if asked := l.Now().Add(lostEvery - lostLimit); last.Before(asked) {
		last = asked
	}
	for {
		s := l.status.of(one.node)
		if s.State != Up || !s.alone.Equal(one.since) { // it was heard of meanwhile
			return
		}
		late := last.Add(lostLimit)
		limited, cancel := context.WithTimeout(ctx, late.Sub(l.Now()))
		_, err := remote.Ping(limited, l.Dial, s.Addr)
		cancel()
		now := l.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, stood(late, now):
			last = now
			late = now.Add(lostLimit)
		case !now.Before(late):
			one.about = cmp.Or(l.panicked(ctx, one.node), one.about) // some stand then
			l.status.change(one.node, func(s *Status) {
				if s.State == Up && s.alone.Equal(one.since) {
					s.State, s.Why = Unreachable, silence(one.about)
				}
			})
			return
		}
		rest := min(lostEvery, late.Sub(now))
		if pause.For(ctx, rest) != nil {
			return
		}
		if woke := l.Now(); stood(now.Add(rest), woke) {
			last = woke
		}
	}
}

// silence says of a node that nothing comes of it.
func silence(about string) string {
	why := fmt.Sprintf("nothing came of it for %v, and its SSH server does not answer", lostLimit)
	if about != "" {
		why += "; " + about
	}
	return why
}
