package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walt/power"
	"walt/state"
)

// overdue returns the nodes that should have been up by now, and forgets that they
// should; and how long it is until the next one is late.
func (b *board) overdue(longest time.Duration) (names []Name, pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause = longest
	for n, s := range b.all {
		if s.late.IsZero() {
			continue
		}
		if due := s.late.Sub(b.now()); due > 0 {
			pause = min(pause, due, standEvery)
			continue
		}
		s.late = time.Time{}
		names = append(names, n)
	}
	return names, pause
}

// watchdog cuts the power of nodes that do not come up in time, and after
// some tries leaves them alone, until ctx ends. Time in which the server itself did not
// run does not count.
func (l *Lab) watchdog(ctx context.Context) error {
	for {
		changed := l.status.next()
		late, pause := l.status.overdue(time.Hour)
		for _, n := range late {
			if err := l.stuck(ctx, n); err != nil && ctx.Err() == nil {
				l.Log.Error("help a node that does not come up", "node", n, "err", err)
			}
		}
		asleep := l.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
		if now := l.Now(); stood(asleep.Add(pause), now) {
			l.status.postpone(now.Sub(asleep))
		}
	}
}

// stuck is called for a node that did not come up in time.
func (l *Lab) stuck(ctx context.Context, n Name) error {
	s := l.status.of(n)
	tries := s.tries
	taken, goesOn := l.goesOn(n, s)
	var d Device
	var ordered power.Port
	var again, off bool
	var what string
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		if d, err = devices.Get(tx, string(n)); err != nil || goesOn {
			return err
		}
		if off, err = l.Ports.IsOff(tx, d.MAC); err != nil || off { // it is not to come up any more
			return err
		}
		if again, ordered, what, err = l.retryBoot(tx, d, tries); err != nil {
			return err
		}
		what = fmt.Sprintf("not up after %v: %s", d.Settings().bootTimeout(), what)
		return l.Journal.Record(tx, l.giveUp(d, s.Step, what))
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil // forgotten meanwhile
	}
	if err != nil || off {
		return err
	}
	if goesOn {
		l.status.change(n, func(s *Status) { s.late, s.taken = l.Now().Add(d.Settings().bootTimeout()), taken })
		return nil
	}
	if !again {
		l.status.change(n, func(s *Status) {
			switch {
			case s.State == Up:
			case s.Failed:
				s.Why += "; " + what
			default:
				s.State, s.Addr, s.Why = Unreachable, "", what
				s.spent = (d.Virtual() || !d.Booted.IsZero()) && tries >= d.Settings().bootRetries()
			}
		})
		return nil
	}
	if at := s.Step.Stands(); at != "" {
		what = "in its last boot " + at + "; " + what
	}
	l.works.Go(func() { // ends within its limit; Run waits for it
		if !d.Virtual() {
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), workLimit)
			defer cancel()
			if err := l.Ports.Execute(limited, ordered); err != nil {
				l.why(d.Name, err)
			}
		}
		l.status.change(n, func(s *Status) {
			l.begin(s, d, tries+1, cause{})
			s.Why = what // until it is up
		})
		if d.Virtual() {
			l.give(d)
		}
	})
	return nil
}

// goesOn reports whether a node that is late has not stood still: it waits for the server,
// or takes what that sends it.
func (l *Lab) goesOn(n Name, s Status) (taken int64, is bool) {
	if l.Agents != nil {
		taken = l.Agents.Taken(n)
	}
	return taken, s.Preparing || taken > 0 && taken != s.taken
}

// retryBoot orders within tx that the power of a node that does not come up is cut
// once more, if that may help, and says what is done. ordered is the port of a
// physical one.
func (l *Lab) retryBoot(tx state.Tx, d Device, tries int) (again bool, ordered power.Port, what string, err error) {
	if !d.Virtual() && d.Booted.IsZero() { // it is booted by something else
		return false, ordered, "left alone, since it has never asked this server what to boot", nil
	}
	return l.cycle(tx, d, tries)
}

// cycle is retryBoot of a device that certainly wants to boot from this server.
func (l *Lab) cycle(tx state.Tx, d Device, tries int) (again bool, ordered power.Port, what string, err error) {
	switch retries := d.Settings().bootRetries(); {
	case tries >= retries:
		return false, ordered, fmt.Sprintf("left alone after %d power cycles", tries), nil
	default:
		if !d.Virtual() {
			refused, err := l.Ports.NoteCycle(tx, d.MAC)
			if err != nil || refused != "" {
				return false, ordered, "left alone, since " + refused, err
			}
		}
		if !d.Virtual() {
			ordered, err = l.Ports.PowerCycle(tx, d.MAC)
		}
		if !d.Virtual() && ordered.IsZero() {
			return false, ordered, "left alone, since the server has no means to cut its power", err
		}
		return true, ordered, fmt.Sprintf("power cycle %d of %d", tries+1, retries), nil
	}
}
