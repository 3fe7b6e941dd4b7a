package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"walt/images"
	"walt/state"
)

// State is what a node is doing.
type State string

const (
	Off         State = "off"         // without power, or never heard of
	Booting     State = "booting"     // asked what to boot, and is not up yet
	Up          State = "up"          // reported that it runs
	Unreachable State = "unreachable" // should be up, and does not answer
	Powersave   State = "powersave"   // its port is off, since nobody needs it
)

// unasked is the state of a switch that the server had nothing to ask yet.
const unasked State = "not asked yet"

// Status is what the server heard of a node since it started.
type Status struct {
	State State
	Addr  string    // host:port of its SSH server, "" unless up or unreachable
	Heard time.Time // when the state last changed, zero if never
	Why   string    // it is unreachable

	late  time.Time // when a boot takes too long; zero when none is expected to end
	tries int       // how often its power was cut because of that
}

// board is the status of all nodes, and lets others wait for a change of it.
type board struct {
	now func() time.Time

	mu      sync.Mutex
	all     map[Name]Status
	changed chan struct{} // closed and replaced at every change
}

func newBoard(now func() time.Time) *board {
	return &board{now: now, all: map[Name]Status{}, changed: make(chan struct{})}
}

func (b *board) of(n Name) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.all[n]; ok {
		return s
	}
	return Status{State: Off}
}

func (b *board) set(n Name, s State, addr string) {
	b.change(n, func(st *Status) {
		st.State, st.Addr, st.Why = s, addr, ""
		if s == Up {
			st.late, st.tries = time.Time{}, 0
		}
	})
}

// change changes the status of a node, unless f leaves it as it is.
func (b *board) change(n Name, f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.all[n]
	if !ok {
		s.State = Off
	}
	before := s
	if f(&s); s == before && ok {
		return
	}
	s.Heard = b.now().UTC()
	b.all[n] = s
	b.wake()
}

func (b *board) forget(n Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, n)
	b.wake()
}

func (b *board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// next is closed at the next change.
func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Boot is called for a node that starts: it returns the image to boot and
// records, durably, that the node took it.
func (l *Lab) Boot(ctx context.Context, n Name) (images.Image, error) {
	var img images.Image
	var d Device
	read := func(r state.Reader) (err error) {
		if d, err = get(r, n); err != nil {
			return err
		}
		if d.Kind != Node {
			return fmt.Errorf("boot %s: it is a device of kind %s", n, d.Kind)
		}
		img, err = images.Get(r, d.Image)
		return err
	}
	moved := false
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if err = read(r); err == nil {
			moved, err = cutOff(r, d)
		}
		return err
	})
	if err == nil && d.Settings.BootDelay > 0 {
		if err = pause(ctx, d.Settings.BootDelay); err == nil {
			err = l.Store.View(ctx, read)
		}
	}
	if err == nil && (d.Booted != img.Ref || d.Digest != img.Digest || moved) {
		_, err = l.Store.Update(ctx, func(tx state.Tx) error {
			if err := errors.Join(read(tx), l.elsewhere(tx, &d)); err != nil {
				return err
			}
			d.Booted, d.Digest = img.Ref, img.Digest
			return devices.Put(tx, string(n), d)
		})
	}
	if err != nil {
		return img, fmt.Errorf("boot %s: %w", n, err)
	}
	l.status.change(n, func(s *Status) {
		s.State, s.Addr, s.Why = Booting, "", ""
		if s.late.IsZero() { // it started by itself
			s.late = l.Now().Add(d.Settings.bootTimeout())
		}
	})
	if !d.Virtual() {
		l.kickPorts()
		l.kickScan()
	}
	return img, nil
}

// Up is called when a node runs; addr is host:port of its SSH server.
func (l *Lab) Up(n Name, addr string) {
	l.status.set(n, Up, addr)
	l.remember(n, addr)
}

// Down is called when a node lost its power.
func (l *Lab) Down(n Name) { l.status.set(n, Off, "") }

// Wait returns when every node of the set is up on the image that it should
// boot, calling progress with those that are not yet whenever that changed.
// When ctx ends first it returns the nodes that were not up, with ctx's error.
func (l *Lab) Wait(ctx context.Context, set Nodes, progress func(missing Nodes)) (Nodes, error) {
	same := func(a, b NodeState) bool { return a.Name == b.Name && a.State == b.State }
	var shown Nodes
	for {
		changed := l.status.next()
		missing, err := l.missing(ctx, set)
		if err != nil || len(missing) == 0 {
			return missing, err
		}
		if !slices.EqualFunc(missing, shown, same) {
			progress(missing)
			shown = missing
		}
		select {
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-changed:
		}
	}
}

func (l *Lab) missing(ctx context.Context, set Nodes) (missing Nodes, err error) {
	err = l.Store.View(context.WithoutCancel(ctx), func(r state.Reader) error {
		missing = nil
		for _, n := range set {
			d, err := get(r, n.Name)
			if err != nil {
				return err
			}
			img, err := images.Get(r, d.Image)
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
			if s := l.status.of(d.Name); s.State != Up || d.Booted != img.Ref || d.Digest != img.Digest {
				missing = append(missing, NodeState{Device: d, Status: s})
			}
		}
		return nil
	})
	return missing, err
}

// IP is the address of the node, "" when it is not known.
func (n NodeState) IP() string {
	if host, _, err := net.SplitHostPort(n.Addr); err == nil {
		return host
	}
	return ""
}
