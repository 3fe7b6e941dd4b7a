package nodes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walt/journal"
	"walt/remote"
	"walt/state"
)

// late returns the nodes that should have been up by now, and forgets that they
// should; and how long it is until the next one is late.
func (b *board) late(longest time.Duration) (names []Name, pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause = longest
	for n, s := range b.all {
		if s.late.IsZero() {
			continue
		}
		if due := s.late.Sub(b.now()); due > 0 {
			pause = min(pause, due)
			continue
		}
		s.late = time.Time{}
		b.all[n] = s
		names = append(names, n)
	}
	return names, pause
}

// watchBoots cuts the power of nodes that do not come up in time, and after
// some tries leaves them alone, until ctx ends.
func (l *Lab) watchBoots(ctx context.Context) error {
	for {
		changed := l.status.next()
		late, pause := l.status.late(time.Hour)
		for _, n := range late {
			if err := l.stuck(ctx, n); err != nil && ctx.Err() == nil {
				l.Log.Error("help a node that does not come up", "node", n, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// stuck is called for a node that did not come up in time.
func (l *Lab) stuck(ctx context.Context, n Name) error {
	tries := l.status.of(n).tries
	var d Device
	var again bool
	var what string
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		if d, err = devices.Get(tx, string(n)); err != nil {
			return err
		}
		if again, what, err = l.help(tx, d, tries); err != nil {
			return err
		}
		what = fmt.Sprintf("not up after %v: %s", d.Settings.bootTimeout(), what)
		return l.Journal.Record(tx, journal.Event{Type: journal.Power, Actor: journal.Server, Node: string(n), Detail: what})
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil // forgotten meanwhile
	}
	if err != nil {
		return err
	}
	if !again {
		l.status.change(n, func(s *Status) {
			if s.State != Up {
				s.State, s.Addr, s.Why = Unreachable, "", what
			}
		})
		return nil
	}
	l.works.Go(func() { // ends within its limit; Run waits for it
		if d.Virtual() {
			l.start(d, tries+1)
			return
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), workLimit)
		defer cancel()
		if err := l.apply(limited, d.Port); err != nil {
			l.why(err)
		}
		l.starting(d, Booting, tries+1)
	})
	return nil
}

// help orders within tx that the power of a node that does not come up is cut
// once more, if that may help, and says what is done.
func (l *Lab) help(tx state.Tx, d Device, tries int) (again bool, what string, err error) {
	switch retries := d.Settings.bootRetries(); {
	case !d.Virtual() && d.Booted.IsZero(): // it is booted by something else
		return false, "left alone, since it has never asked this server what to boot", nil
	case tries >= retries:
		return false, fmt.Sprintf("left alone after %d power cycles", tries), nil
	default:
		again = d.Virtual()
		if !again {
			again, err = l.plan(tx, d, true)
		}
		if !again {
			return false, "left alone, since the server has no means to cut its power", err
		}
		return true, fmt.Sprintf("power cycle %d of %d", tries+1, retries), nil
	}
}

// heard is the address of the SSH server of each physical node that reported
// one, for when the server starts again.
var heard = state.NewTable[string]("heard")

// remember keeps the address that a physical node reported.
func (l *Lab) remember(n Name, addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), workLimit)
	defer cancel()
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		d, err := devices.Get(tx, string(n))
		if errors.Is(err, state.ErrNotFound) || err == nil && d.Virtual() {
			return nil
		}
		if err != nil {
			return err
		}
		if before, err := heard.Get(tx, string(n)); err == nil && before == addr {
			return nil
		}
		return heard.Put(tx, string(n), addr)
	})
	if err != nil {
		l.Log.Error("remember the address of a node", "node", n, "err", err)
	}
}

// recall looks for the nodes that were up when the server ended.
func (l *Lab) recall(ctx context.Context) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		for e, err := range heard.Scan(r, "", "") {
			if err != nil {
				return err
			}
			l.status.change(Name(e.Key), func(s *Status) {
				if s.State == Off {
					s.State, s.Addr, s.Why = Unreachable, e.Value, "not heard of since the server started"
				}
			})
		}
		return nil
	})
}

const (
	probeEvery = 30 * time.Second
	// probesAtOnce is how many nodes are called at the same time.
	probesAtOnce = 64
)

// probe looks now and then whether the physical nodes that are up still answer,
// and whether those that did not do again, until ctx ends.
func (l *Lab) probe(ctx context.Context) error {
	missed := map[Name]bool{}
	for {
		missed = l.probeAll(ctx, missed)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probeEvery):
		}
	}
}

// probeAll calls all nodes once. One that misses two calls is unreachable.
func (l *Lab) probeAll(ctx context.Context, missed map[Name]bool) (missing map[Name]bool) {
	all, err := l.pick(ctx, func(d Device) bool { return d.Kind == Node && !d.Virtual() })
	if err != nil {
		if ctx.Err() == nil {
			l.Log.Error("look which nodes answer", "err", err)
		}
		return missed
	}
	missing = map[Name]bool{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	turns := make(chan struct{}, probesAtOnce)
	for _, n := range all {
		if n.Addr == "" || n.State != Up && n.State != Unreachable {
			continue
		}
		turns <- struct{}{}
		calls.Go(func() {
			defer func() { <-turns }()
			_, err := remote.Ping(ctx, n.Addr)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			missing[n.Name] = err != nil
			l.status.change(n.Name, func(s *Status) {
				switch {
				case s.Addr != n.Addr || s.State != n.State: // it was heard of meanwhile
				case err == nil:
					s.State, s.Why = Up, ""
				case missed[n.Name] && s.State == Up:
					s.State, s.Why = Unreachable, "its SSH server does not answer"
				}
			})
		})
	}
	calls.Wait()
	return missing
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
