package nodes

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"walt/auth"
	"walt/state"
)

// Warning tells an owner that holds end soon.
type Warning struct {
	Nodes []string // in natural order
	Until time.Time
	Waits []auth.Name // for one of them, in the order of their coming: why it matters
}

// warned are the shells that are open, in which owners are told what ends soon. It is not
// kept: who is not there learned the end with the nodes.
type warned struct {
	mu     sync.Mutex
	shells map[auth.Name]map[chan Warning]bool
}

// Warnings shows the user which holds end soon, as long before as Holds says, until ctx
// ends. Who takes none while several come misses some.
func (l *Lab) Warnings(ctx context.Context, user auth.Name, show func(Warning)) {
	const several = 16
	mine := make(chan Warning, several)
	l.warned.enter(user, mine)
	defer l.warned.leave(user, mine)
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-mine:
			show(w)
		}
	}
}

func (w *warned) enter(user auth.Name, shell chan Warning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shells == nil {
		w.shells = map[auth.Name]map[chan Warning]bool{}
	}
	if w.shells[user] == nil {
		w.shells[user] = map[chan Warning]bool{}
	}
	w.shells[user][shell] = true
}

func (w *warned) leave(user auth.Name, shell chan Warning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.shells[user], shell)
	if len(w.shells[user]) == 0 {
		delete(w.shells, user)
	}
}

// tell has all shells of the user show a warning.
func (w *warned) tell(user auth.Name, what Warning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for shell := range w.shells[user] {
		select {
		case shell <- what:
		default:
		}
	}
}

// warnOfEnds tells owners which holds end soon, until ctx ends.
func (l *Lab) warnOfEnds(ctx context.Context) error {
	last := l.Now()
	for {
		now := l.Now()
		soon, pause, changed, err := l.endingSoon(ctx, last, now)
		if err != nil {
			return ended(ctx, err)
		}
		for owner, all := range soon {
			if err := l.addWaits(ctx, owner, all); err != nil && ctx.Err() == nil {
				l.Log.Error("look who waits for nodes whose hold ends soon", "owner", owner, "err", err)
			}
			for _, w := range all {
				l.warned.tell(owner, w)
			}
		}
		last = now
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// endingSoon returns what each owner is to be told that was not yet to be told at last; after
// how long to look again, unless changed is closed before. A hold that was no longer than a
// warning from the start is none to warn of.
func (l *Lab) endingSoon(ctx context.Context, last, now time.Time) (soon map[auth.Name][]Warning, pause time.Duration, changed <-chan struct{}, err error) {
	pause, soon = time.Hour, map[auth.Name][]Warning{}
	err = l.view.Read(ctx, func() {
		all := l.view.ending
		changed = l.view.held
		if len(all) > 0 {
			pause = holdsEvery
		}
		told := map[Name]bool{}
		for _, before := range slices.Sorted(slices.Values(l.Holds().Warn)) {
			from := sort.Search(len(all), func(i int) bool { return all[i].Hold().After(last.Add(before)) })
			for _, d := range all[from:] {
				until := d.Hold()
				if left := until.Sub(now); left > before {
					pause = min(pause, left-before)
					break
				} else if left > 0 && until.Sub(d.Since) > before && !told[d.Name] {
					told[d.Name] = true
					soon[d.Owner()] = noteEnd(soon[d.Owner()], d)
				}
			}
		}
	})
	for _, all := range soon {
		for _, w := range all {
			slices.SortFunc(w.Nodes, func(a, b string) int { return Name(a).Compare(Name(b)) })
		}
	}
	return soon, pause, changed, err
}

// addWaits adds to the warnings of an owner who waits for the nodes.
func (l *Lab) addWaits(ctx context.Context, owner auth.Name, all []Warning) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		waiting, err := l.waitingForOthers(ctx, r, owner)
		if err != nil || len(waiting) == 0 {
			return err
		}
		for i := range all {
			w := &all[i]
			for _, n := range w.Nodes {
				d, _, err := devices.Find(r, n)
				if err != nil {
					return err
				}
				w.Waits = appendWaiting(w.Waits, waiting, &d)
			}
		}
		return nil
	})
}

// noteEnd adds a node to the warning of those whose holds end with its own.
func noteEnd(all []Warning, d *Device) []Warning {
	for i := range all {
		if all[i].Until.Equal(d.Hold()) {
			all[i].Nodes = append(all[i].Nodes, string(d.Name))
			return all
		}
	}
	return append(all, Warning{Nodes: []string{string(d.Name)}, Until: d.Hold()})
}
