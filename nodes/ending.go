package nodes

import (
	"context"
	"slices"
	"time"

	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

const (
	// holdGrace is for how long after the server started, or stood still, the holds go on
	// that were there before: their owners could not extend them.
	holdGrace = 5 * time.Minute
	// holdsEvery is how often the clock is looked at while holds have an end: it may be set.
	holdsEvery = 15 * time.Second
	// holdsLate is how late that may be before the server is taken to have stood still, or
	// its clock to have been set forward.
	holdsLate = time.Minute
	// endAgain is after how long the release of nodes is tried again that failed.
	endAgain = 15 * time.Second
	// asideFor is for how long a node is left alone whose release failed, though the store takes
	// changes.
	asideFor = 10 * time.Minute
	// endedAtOnce is how many nodes are released in one transaction at most.
	endedAtOnce = 500
)

// endHolds releases nodes whose hold has ended, until ctx ends.
func (l *Lab) endHolds(ctx context.Context) error {
	var spared spared
	aside := aside{}
	before, pause := time.Time{}, time.Duration(0)
	for {
		now := l.Now()
		if before.IsZero() || now.Round(0).Sub(before.Round(0))-pause > holdsLate {
			if err := spared.renew(ctx, l.view, now); err != nil {
				return ended(ctx, err)
			}
		}
		due, next, changed, err := l.overdueHolds(ctx, now, &spared, aside)
		if err != nil {
			return ended(ctx, err)
		}
		untied, left, retied, err := l.overdueTies(ctx, now, aside)
		if err != nil {
			return ended(ctx, err)
		}
		due, next = append(due, untied...), min(next, left)
		before, pause = now, next
		if len(due) > 0 {
			freed, err := l.releaseEach(ctx, due, aside)
			switch pause = 0; {
			case err != nil && ctx.Err() == nil:
				l.Log.Error("release nodes whose hold ended; it is tried again", "nodes", fault.Few(due), "err", err)
				changed, retied, pause = nil, nil, endAgain
			case freed == 0: // somebody did it meanwhile
				pause = time.Second
			}
			before = l.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retied:
		case <-time.After(pause):
		}
	}
}

// ended is no error when it comes from the end of ctx.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// spared are the holds that do not end for a while though they are over: when they do, by
// the address of the node.
type spared struct {
	until map[ethernet.MAC]time.Time
	since time.Time
}

// renew spares those from now on that end in the time of grace.
func (s *spared) renew(ctx context.Context, v *view, now time.Time) error {
	s.until, s.since = map[ethernet.MAC]time.Time{}, now
	return v.Read(ctx, func() {
		for _, d := range v.ending {
			if d.Hold().After(now.Add(holdGrace)) {
				return
			}
			s.until[d.MAC] = d.Hold()
		}
	})
}

// has reports whether the hold is spared. One that its owner changed meanwhile is not.
func (s *spared) has(d *Device) bool {
	until, is := s.until[d.MAC]
	return is && until.Equal(d.Hold())
}

// aside are nodes that could not be released, since something is wrong with them alone, by
// their addresses: when that is tried again.
type aside map[ethernet.MAC]time.Time

// has reports whether a node is left alone for now.
func (a aside) has(d *Device, now time.Time) bool { return now.Before(a[d.MAC]) }

// renew forgets those that are to be tried again, and returns after how long the next one is
// to be, at most pause.
func (a aside) renew(now time.Time, pause time.Duration) time.Duration {
	for mac, until := range a {
		if left := until.Sub(now); left > 0 {
			pause = min(pause, left)
		} else {
			delete(a, mac)
		}
	}
	return pause
}

// overdueHolds returns nodes whose hold has ended, not too many; after how long to look
// again, unless changed is closed before.
func (l *Lab) overdueHolds(ctx context.Context, now time.Time, s *spared, a aside) (due []Name, pause time.Duration, changed <-chan struct{}, err error) {
	if len(s.until) > 0 && now.Sub(s.since) >= holdGrace {
		s.until = nil
	}
	pause = a.renew(now, time.Hour)
	err = l.view.Read(ctx, func() {
		changed = l.view.held
		if len(l.view.ending) > 0 {
			pause = holdsEvery
		}
		if len(s.until) > 0 {
			pause = min(pause, holdGrace-now.Sub(s.since))
		}
		for _, d := range l.view.ending {
			if left := d.Hold().Sub(now); left > 0 {
				pause = min(pause, left)
				return
			}
			if !s.has(d) && !a.has(d, now) {
				due = append(due, d.Name)
			}
			if len(due) == endedAtOnce {
				return
			}
		}
	})
	return due, pause, changed, err
}

// overdueTies returns nodes whose owners are no longer connected that tied them to that,
// not too many; after how long to look again, unless changed is closed before.
func (l *Lab) overdueTies(ctx context.Context, now time.Time, a aside) (due []Name, pause time.Duration, changed <-chan struct{}, err error) {
	pause = time.Hour
	err = l.view.Read(ctx, func() {
		tied := make(map[tie]bool, len(l.view.tied))
		for _, d := range l.view.tied {
			tied[d.tie()] = true
		}
		changed = l.ties.keep(tied)
		for _, d := range l.view.tied {
			switch left, open := l.ties.left(d.tie(), now); {
			case open:
			case left > 0:
				pause = min(pause, left)
			case len(due) < endedAtOnce && !a.has(d, now):
				due = append(due, d.Name)
			}
		}
	})
	return due, pause, changed, err
}

// untied reports whether a node is held no longer since its owner is not connected.
func (l *Lab) untied(d *Device, now time.Time) bool {
	if d.tied() == nil {
		return false
	}
	left, open := l.ties.left(d.tie(), now)
	return !open && left <= 0
}

// releaseEach releases nodes as release does. One of which that fails keeps no others, and is
// put aside.
func (l *Lab) releaseEach(ctx context.Context, some []Name, a aside) (freed int, err error) {
	freed, err = l.release(ctx, some)
	switch {
	case err == nil || ctx.Err() != nil:
		return freed, err
	case len(some) == 1:
		return freed, l.putAside(ctx, some[0], err, a)
	}
	for half := range slices.Chunk(some, (len(some)+1)/2) {
		n, err := l.releaseEach(ctx, half, a)
		if freed += n; err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// release frees those of the nodes whose hold has ended, and returns how many.
func (l *Lab) release(ctx context.Context, some []Name) (freed int, err error) {
	for len(some) > 0 {
		var left []Device
		c, err := l.commit(ctx, journal.Server, consent.Agreement{}, func(c *change) error {
			c.because = holdEnded
			over, err := c.overdue(some)
			if err == nil {
				left, err = c.freeSome(over)
			}
			return err
		})
		if err != nil {
			return freed, err
		}
		freed += len(c.result.Changes)
		l.works.Go(func() { _ = c.restart(ctx) }) // each restart has its limit; Run waits for them
		some = nil
		for _, d := range left {
			some = append(some, d.Name)
		}
	}
	return freed, nil
}

// putAside has a node be left alone for a while whose release failed, which the log tells.
// When the store does not take that either, nothing is wrong with the node.
func (l *Lab) putAside(ctx context.Context, n Name, why error, a aside) error {
	e := journal.Event{Type: journal.Sharing, Actor: journal.Server, Node: string(n), Detail: holdEnded + ", but it cannot be released: the log of the server says why"}
	if _, err := l.Store.Update(ctx, func(tx state.Tx) error { return l.Journal.Record(tx, e) }); err != nil {
		return why
	}
	l.Log.Error("release a node whose hold ended; it is tried again", "node", n, "in", asideFor, "err", why)
	return l.view.Read(ctx, func() {
		if d := l.view.named[n]; d != nil {
			a[d.MAC] = l.Now().Add(asideFor)
		}
	})
}

// overdue returns those of the nodes whose hold has ended.
func (c *change) overdue(some []Name) (over []Device, err error) {
	now := c.lab.Now()
	for _, n := range some {
		d, here, err := devices.Find(c.tx, string(n))
		if err != nil {
			return nil, err
		}
		if here && (d.over(now) || c.lab.untied(&d, now)) {
			over = append(over, d)
		}
	}
	return over, nil
}
