package nodes

import (
	"context"
	"fmt"

	"walt/ethernet"
	"walt/state"
)

// Asleep is called for a board whose firmware has stopped and goes on only after its power
// was cut, with the reason in words for users. That is done where its port allows it, as
// often as for a node that does not come up; else the log and the device tell it.
func (l *Lab) Asleep(ctx context.Context, mac ethernet.MAC, why string) error {
	d, here, err := l.Device(ctx, mac)
	if err != nil || !here || d.Virtual() {
		return err
	}
	tries := l.status.of(d.Name).tries
	var a attempt
	var what string
	_, err = l.Store.Update(ctx, func(tx state.Tx) (err error) {
		what = ""
		if d, here, err = devices.Find(tx, string(d.Name)); err != nil || !here || d.MAC != mac {
			return err
		}
		off, err := l.Ports.IsOff(tx, mac)
		if err != nil || off {
			return err
		}
		if a, err = l.cycle(tx, d, tries); err != nil {
			return err
		}
		what = fmt.Sprintf("%s: %s", why, a.what)
		return l.Journal.Record(tx, l.giveUp(d, l.status.of(d.Name).Step, what))
	})
	if err != nil || what == "" {
		return err
	}
	l.status.change(d.Name, func(s *Status) {
		if s.State != Up {
			s.State, s.Addr, s.Why, s.tries = Unreachable, "", what, tries
		}
	})
	if a.again {
		l.works.Go(func() { l.cutFor(ctx, d, a, tries+1) }) // ends within its limit; Run waits for it
	}
	return nil
}

// cutFor cuts the power of a board for a moment.
func (l *Lab) cutFor(ctx context.Context, d Device, a attempt, tries int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workLimit)
	defer cancel()
	if _, err := l.carryOut(ctx, a.ordered); err != nil {
		l.why(d.Name, err)
	} else {
		l.follow(a)
	}
	if d.Kind == Node {
		l.starting(d, tries, cause{})
		return
	}
	l.status.change(d.Name, func(s *Status) { s.tries = tries })
}

// wakes notes that a board asks for its address: its firmware goes on.
func (l *Lab) wakes(d Device) {
	if d.Kind == Unknown && l.status.of(d.Name).State == Unreachable {
		l.status.change(d.Name, func(s *Status) { s.State, s.Why = Off, "" })
	}
}
