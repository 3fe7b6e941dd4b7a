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
	var off bool
	var dark string // why it may have no power yet, "" if it has
	var a attempt
	var what string
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		if d, err = devices.Get(tx, string(n)); err != nil || goesOn {
			return err
		}
		if off, err = l.Ports.IsOff(tx, d.MAC); err != nil || off { // it is not to come up any more
			return err
		}
		if dark, err = l.Ports.Dark(tx, d.MAC); err != nil || dark != "" { // cutting it is of no use
			return err
		}
		if a, err = l.retryBoot(tx, d, tries); err != nil {
			return err
		}
		what = fmt.Sprintf("not up after %v: %s", d.Settings().bootTimeout(), a.what)
		return l.Journal.Record(tx, l.giveUp(d, s.Step, what))
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil // forgotten meanwhile
	}
	if err != nil || off {
		return err
	}
	if goesOn || dark != "" {
		l.status.change(n, func(s *Status) {
			if s.late, s.taken = l.Now().Add(d.Settings().bootTimeout()), taken; dark != "" && s.State == Booting {
				s.Why = "its power could not be given yet: " + dark
			}
		})
		return nil
	}
	if !a.again {
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
			if _, err := l.carryOut(limited, a.ordered); err != nil {
				l.why(d.Name, err)
			} else {
				l.follow(a)
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

// attempt is what is done for a node that does not come up.
type attempt struct {
	again   bool
	ordered power.Port   // by which, of a physical one
	beside  []beside     // what loses its power with it
	tries   map[Name]int // of these, so far
	what    string       // in words for users, also when nothing is done
}

// leave is the attempt that is none.
func leave(why string) attempt { return attempt{what: "left alone" + why} }

// retryBoot orders within tx that the power of a node that does not come up is cut
// once more, if that may help.
func (l *Lab) retryBoot(tx state.Tx, d Device, tries int) (attempt, error) {
	if !d.Virtual() && d.Booted.IsZero() { // it is booted by something else
		return leave(", since it has never asked this server what to boot"), nil
	}
	if woken, err := l.Ports.Woken(tx, d.MAC); err != nil || !woken && l.runsOn(d) {
		return leave(", since it runs on although its power was cut: something else feeds it"), err
	}
	return l.cycle(tx, d, tries)
}

// runsOn reports whether a device whose power was cut has not noticed: its agent is that of before.
// To cut it once more would disturb what hangs there in its place.
func (l *Lab) runsOn(d Device) bool {
	s := l.status.of(d.Name)
	return !d.Virtual() && s.State == Booting && s.due && !s.asked && l.Now().Sub(s.began) >= lostLimit && l.Agents != nil && l.Agents.Connected(d.MAC)
}

// cycle is retryBoot of a device that certainly wants to boot from this server.
func (l *Lab) cycle(tx state.Tx, d Device, tries int) (attempt, error) {
	retries := d.Settings().bootRetries()
	once := attempt{again: true, what: fmt.Sprintf("power cycle %d of %d", tries+1, retries)}
	switch {
	case tries >= retries:
		return leave(fmt.Sprintf(" after %d power cycles", tries)), nil
	case d.Virtual():
		return once, nil
	}
	strips, err := l.strips(tx, []Device{d})
	if err != nil {
		return attempt{}, err
	}
	if s := strips[d.Name]; s != nil {
		return l.cycleStrip(tx, d, s, once)
	}
	if refused, err := l.Ports.NoteCycle(tx, d.MAC); err != nil || refused != "" {
		return leave(", since " + refused), err
	}
	once.ordered, err = l.Ports.PowerCycle(tx, d.MAC)
	if err != nil || once.ordered.IsZero() {
		return leave(", since the server has no means to cut its power"), err
	}
	return once, nil
}

// cycleStrip is cycle of a device that shares outlets, unless what else hangs there is
// somebody else's, or works.
func (l *Lab) cycleStrip(tx state.Tx, d Device, s *strip, once attempt) (_ attempt, err error) {
	if once.ordered, err = l.Ports.CycledWith(tx, d.MAC); err != nil || !once.ordered.IsZero() {
		return once, err
	}
	once.beside, once.tries = s.beside, map[Name]int{}
	for _, b := range s.beside {
		st, is := l.status.of(b.Name), ""
		switch {
		case b.Kind != Node:
			is = ", which is no node"
		case !b.Free() && b.Owner() != d.Owner():
			is = " of " + string(b.Owner())
		case st.State == Up, st.State == Booting && !st.late.IsZero():
			is = ", which is " + string(st.State)
		}
		if is != "" {
			return leave(fmt.Sprintf(", since %s feeds %s%s, too", b.Outlets, b.Name, is)), nil
		}
		once.tries[b.Name] = st.tries
	}
	for _, mac := range append(s.macs(), d.MAC) {
		if refused, err := l.Ports.NoteCycle(tx, mac); err != nil || refused != "" {
			return leave(", since " + refused), err
		}
	}
	once.ordered, err = l.Ports.PowerCycleTogether(tx, s.Strip, false)
	return once, err
}

// follow has what lost its power with a node begin to boot, too.
func (l *Lab) follow(a attempt) {
	for _, b := range a.beside {
		if b.isCut() {
			l.status.change(b.Name, func(s *Status) {
				if s.State != Off {
					l.begin(s, b.Device, a.tries[b.Name]+1, cause{})
				}
			})
		}
	}
}
