package nodes

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"walt/state"
)

// turnLimit is how long a machine that starts may keep another one waiting.
const turnLimit = time.Minute

// startTurns is how many machines start at the same time when the server finds none of
// them running, as after a start of its host: half as many as there are processors.
func startTurns() int { return max(1, runtime.NumCPU()/2) }

// queue notes that machines wait for their turn to start, whoever starts them then.
func (l *Lab) queue(all []*Device) {
	for _, d := range all {
		l.status.change(d.Name, func(s *Status) {
			if s.State == Off {
				s.Why, s.queued = "it waits for its turn to start", true
			}
		})
	}
}

// startMachines starts machines that are in the queue, those of users first, so many at a time. The next one
// begins when one before is up, or has failed, or takes too long. It returns when all
// were begun, or ctx ends.
func (l *Lab) startMachines(ctx context.Context, all []*Device, atOnce int) error {
	all = slices.SortedStableFunc(slices.Values(all), func(a, b *Device) int {
		switch {
		case a.Free() == b.Free():
			return 0
		case b.Free():
			return -1
		}
		return 1
	})
	turns := make(chan struct{}, atOnce)
	var starting sync.WaitGroup // each ends with ctx, or in its time
	defer starting.Wait()
	for _, d := range all {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		starting.Go(func() {
			defer func() { <-turns }()
			if err := l.startInTurn(ctx, d.Name); err != nil && ctx.Err() == nil {
				l.Log.Error("start a machine", "node", d.Name, "err", err)
			}
		})
	}
	return nil
}

// startInTurn starts a machine, unless somebody did so meanwhile, or wants it off, and
// waits until it is known what comes of that.
func (l *Lab) startInTurn(ctx context.Context, n Name) error {
	var d Device
	var here, off bool
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if d, here, err = devices.Find(r, string(n)); err == nil && here {
			off, err = l.Ports.IsOff(r, d.MAC)
		}
		return err
	})
	if err != nil || !here || off || !l.status.of(n).queued {
		return err
	}
	l.start(d, 0, cause{})
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	for {
		changed := l.status.next()
		if l.status.of(n).State != Booting {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
