package nodes

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/images"
	"walt/state"
)

// resumesAtOnce is with how many nodes the server goes on at the same time.
const resumesAtOnce = 8

// Found is closed when it is known which virtual nodes run since before the server
// started: until then they seem to be off.
func (l *Lab) Found() <-chan struct{} { return l.found }

// resumeAll goes on with those of virtual nodes that went on while no server was there,
// and returns which these are.
func (l *Lab) resumeAll(ctx context.Context, virtual []*Device) map[Name]bool {
	var mu sync.Mutex
	goOn := map[Name]bool{}
	var g errgroup.Group
	g.SetLimit(resumesAtOnce)
	for _, d := range virtual {
		if !d.lasts() {
			continue
		}
		g.Go(func() error {
			if l.resume(ctx, *d) {
				mu.Lock()
				defer mu.Unlock()
				goOn[d.Name] = true
			}
			return nil
		})
	}
	_ = g.Wait() // there is no error
	return goOn
}

// resume goes on with a virtual node that went on while no server was there, unless
// it is to boot something else by now. It reports whether it did. One that was up is up
// as long as it answers, as one whose agent is gone.
func (l *Lab) resume(ctx context.Context, d Device) bool {
	host, here := l.Hosts[d.Host]
	if !here {
		return false
	}
	var img images.Image
	var addr string
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if img, err = images.Get(r, d.Image); err == nil {
			addr, _, err = addresses.Find(r, string(d.MAC))
		}
		return err
	})
	if err != nil || d.Booted != img.Ref || d.Digest != img.Digest || !host.Resume(ctx, d.Name) {
		return false
	}
	up, now := l.status.isUp(d.Name) && addr != "", l.Now() // as far as the log knows
	l.status.change(d.Name, func(s *Status) {
		switch {
		case s.State == Booting: // somebody started it anew
			up = false
		case s.State == Up: // its agent was as quick
			s.took, s.runs, up = d.Digest, d.Digest, false
		case up:
			*s = Status{State: Up, Addr: addr, took: d.Digest, runs: d.Digest, alone: now, seen: true}
		default:
			l.begin(s, d, 0, cause{})
			s.due, s.took, s.untold, s.Step = false, d.Digest, true, StepKernel
		}
	})
	if up {
		l.losses.add(loss{d.Name, now, ""})
	}
	return true
}

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
	var here, off, mine bool
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if d, here, err = devices.Find(r, string(n)); err == nil && here {
			off, err = l.Ports.IsOff(r, d.MAC)
		}
		return err
	})
	if err != nil || !here || off {
		return err
	}
	l.status.change(n, func(s *Status) {
		if mine = s.queued; mine { // from here on nobody else takes it out of the queue
			l.begin(s, d, 0, cause{})
		}
	})
	if !mine {
		return nil
	}
	l.give(d)
	if err := l.keepOff(ctx, d); err != nil {
		return err
	}
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

// keepOff switches a machine off that somebody wants off since it was looked at.
func (l *Lab) keepOff(ctx context.Context, d Device) error {
	off, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.IsOff(r, d.MAC) })
	if err != nil || !off {
		return err
	}
	return l.Switch(ctx, d.MAC, false)
}
