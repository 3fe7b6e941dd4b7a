package nodes

import (
	"context"
	"sync"
	"time"

	"walt/ethernet"
	"walt/remote"
	"walt/state"
)

// addresses are those of the SSH server of each physical node that reported one,
// by its MAC, for when the server starts again.
var addresses = state.NewTable[string]("address")

// keepAddress keeps the address that a physical node reported. It returns what the node took
// at its last start, a digest, and whether there is such a node, as far as is known.
func (l *Lab) keepAddress(n Name, addr string) (took string, known bool) {
	ctx, cancel := context.WithTimeout(context.Background(), workLimit)
	defer cancel()
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		d, found, err := devices.Find(tx, string(n))
		took = d.Digest
		if known = found || err != nil; err != nil || !found || !d.lasts() {
			return err
		}
		if before, _, err := addresses.Find(tx, string(d.MAC)); err != nil || before == addr {
			return err
		}
		return addresses.Put(tx, string(d.MAC), addr)
	})
	l.unnoted.because(l.Log, err, "remember the address of a node", n)
	return took, known || err != nil
}

// recallAddresses looks for the nodes that were up when the server ended.
func (l *Lab) recallAddresses(ctx context.Context) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		for e, err := range addresses.Scan(r, "", "") {
			if err != nil {
				return err
			}
			d, err := withMAC(r, ethernet.MAC(e.Key))
			if err != nil {
				return err
			}
			l.status.change(d.Name, func(s *Status) {
				if s.State == Off && !s.queued {
					s.State, s.Addr, s.Why, s.untold = Unreachable, e.Value, "not heard of since the server started", true
					s.runs = d.Digest
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
	all, err := l.calledUp(ctx)
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
		turns <- struct{}{}
		calls.Go(func() {
			defer func() { <-turns }()
			back := false
			_, err := remote.Ping(ctx, l.Dial, n.Addr)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			missing[n.Name] = err != nil
			l.status.change(n.Name, func(s *Status) {
				back = false
				switch {
				case s.Addr != n.Addr || s.State != n.State: // it was heard of meanwhile
				case err == nil:
					back = s.State == Unreachable && !s.alone.IsZero()
					s.State, s.Why, s.untold = Up, "", false
				case missed[n.Name] && s.untold: // it was up when the server ended, and is not now
					s.untold = false
				case missed[n.Name] && s.State == Up:
					s.State, s.Why = Unreachable, "its SSH server does not answer"
				}
			})
			if back {
				l.Lost(n.Name, l.Now(), "") // still
			}
		})
	}
	calls.Wait()
	return missing
}

// calledUp returns the nodes that go on without the server and should answer.
func (l *Lab) calledUp(ctx context.Context) (all []DeviceStatus, err error) {
	names := l.status.shouldAnswer()
	lasting, err := l.list(ctx, nodeScope, func() (some []*Device) {
		for _, n := range names {
			if d := l.view.named[n]; d != nil && d.Kind == Node && d.lasts() {
				some = append(some, d)
			}
		}
		return some
	})
	if err != nil {
		return nil, err
	}
	for n, err := range lasting.Each(ctx) {
		if err != nil {
			return nil, err
		}
		if n.shouldAnswer() {
			all = append(all, *n)
		}
	}
	return all, nil
}

// shouldAnswer reports whether what a node boots should answer at its address.
func (s Status) shouldAnswer() bool {
	return s.Addr != "" && (s.State == Up || s.State == Unreachable && !s.Failed) // a failed one's init that answers
}

// shouldAnswer returns the devices that should answer: mostly few of all.
func (b *board) shouldAnswer() (names []Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, s := range b.all {
		if s.shouldAnswer() {
			names = append(names, n)
		}
	}
	return names
}
