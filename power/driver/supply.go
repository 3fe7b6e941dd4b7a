package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walt/fault"
	"walt/pause"
)

const (
	// showLimit is how long a switched outlet may take to show its new state.
	showLimit = 20 * time.Second
	// firstLook and longestLook are the pauses between looks at it.
	firstLook, longestLook = 250 * time.Millisecond, 2 * time.Second
	// restoreLimit is how long power is given back for whose request was cut short.
	restoreLimit = time.Minute
)

// Status is the state of a node with this supply: On if an outlet is, Off if all are.
func (d *Drivers) Status(ctx context.Context, s Supply, node string) (State, error) {
	found := map[State]int{}
	var mu sync.Mutex
	err := each(s, func(o Outlet) error {
		state, err := d.status(ctx, o, node)
		mu.Lock()
		defer mu.Unlock()
		found[state]++
		return err
	})
	switch {
	case found[On] > 0:
		return On, err
	case len(s) > 0 && found[Off] == len(s):
		return Off, err
	}
	return Unknown, err
}

// status is that of one outlet.
func (d *Drivers) status(ctx context.Context, o Outlet, node string) (state State, err error) {
	err = d.ask(ctx, o, node, func(ctx context.Context, m Means, t Target) (err error) {
		state, err = m.Status(ctx, t)
		return err
	})
	if errors.Is(err, ErrNotSupported) {
		return Unknown, nil
	}
	if err != nil || state != On && state != Off {
		state = Unknown
	}
	return state, err
}

// Switch gives a supply its power or takes it, all outlets at the same time, and returns
// when their states show it. When not all could be switched off, those that were have
// their power back when it returns, or the fault says that they do not.
func (d *Drivers) Switch(ctx context.Context, s Supply, node string, on bool) error {
	if on {
		return d.on(ctx, s, node)
	}
	if err := d.off(ctx, s, node); err != nil {
		return errors.Join(d.restore(ctx, s, node), err)
	}
	return nil
}

// Cycle takes the power of a supply away for about that time. Once it has begun, the end of
// ctx cuts it short: the power is given back before Cycle returns, or the fault says that it is not.
func (d *Drivers) Cycle(ctx context.Context, s Supply, node string, off time.Duration) error {
	if len(s) == 1 {
		done, err := d.byItself(ctx, s[0], node, off)
		if done || err != nil {
			return err
		}
	}
	cut := d.off(ctx, s, node)
	if cut == nil {
		cut = pause.For(ctx, off)
	}
	if cut != nil {
		return errors.Join(d.restore(ctx, s, node), cut)
	}
	if err := d.on(ctx, s, node); err != nil {
		return errors.Join(d.restore(ctx, s, node), err)
	}
	return nil
}

// byItself has the device of an outlet that is on do the whole cycle, if it can.
func (d *Drivers) byItself(ctx context.Context, o Outlet, node string, off time.Duration) (done bool, err error) {
	if d.isOwn(o) {
		return false, ownFault(o)
	}
	if state, err := d.status(ctx, o, node); err != nil || state != On {
		return false, err
	}
	err = d.ask(ctx, o, node, func(ctx context.Context, m Means, t Target) error {
		c, can := m.(Cycler)
		if !can {
			return ErrNotSupported
		}
		return c.Cycle(ctx, t, off)
	})
	if errors.Is(err, ErrNotSupported) {
		return false, nil
	}
	if err != nil {
		return true, errors.Join(d.restore(ctx, Supply{o}, node), err)
	}
	return true, d.shows(ctx, o, node, true)
}

func (d *Drivers) on(ctx context.Context, s Supply, node string) error {
	return each(s, func(o Outlet) error { return d.turn(ctx, o, node, true) })
}

func (d *Drivers) off(ctx context.Context, s Supply, node string) error {
	for _, o := range s {
		if d.isOwn(o) {
			return ownFault(o)
		}
	}
	return each(s, func(o Outlet) error { return d.turn(ctx, o, node, false) })
}

// restore is on, whatever became of ctx.
func (d *Drivers) restore(ctx context.Context, s Supply, node string) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreLimit)
	defer cancel()
	if err := d.on(limited, s, node); err != nil {
		return fault.Failedf("%s may be left without power: %s", s, fault.Reason(err)).
			WithHint("see whether it is on; the server goes on trying")
	}
	return nil
}

// turn switches one outlet, unless it shows that it is so, and waits until it does.
func (d *Drivers) turn(ctx context.Context, o Outlet, node string, on bool) error {
	state, err := d.status(ctx, o, node)
	if err != nil || state == stateOf(on) {
		return err
	}
	if on {
		if err := d.stagger.wait(ctx); err != nil {
			return err
		}
	}
	err = d.ask(ctx, o, node, func(ctx context.Context, m Means, t Target) error { return m.Switch(ctx, t, on) })
	if errors.Is(err, ErrNotSupported) {
		return fault.Failedf("%s cannot be switched %s", o, stateOf(on)).WithHint("see: help show power")
	}
	if err != nil {
		return err
	}
	return d.shows(ctx, o, node, on)
}

// shows waits until an outlet shows what it was told to be. One that does not tell is believed.
func (d *Drivers) shows(ctx context.Context, o Outlet, node string, on bool) error {
	begun := time.Now()
	for look := firstLook; ; look = min(2*look, longestLook) {
		state, err := d.status(ctx, o, node)
		switch {
		case err != nil:
			return err
		case state == stateOf(on), state == Unknown:
			return nil
		case time.Since(begun) >= showLimit:
			return fault.Failedf("%s was told to be %s, and says %v later that it is %s", o, stateOf(on), showLimit, state).
				WithHint("see whether something keeps it from that, as a lock or a schedule of the device")
		}
		if err := pause.For(ctx, look); err != nil {
			return fmt.Errorf("wait until %s is %s: %w", o, stateOf(on), err)
		}
	}
}

// each calls f with all outlets at the same time, and returns what failed.
func each(s Supply, f func(Outlet) error) error {
	errs := make([]error, len(s))
	var all sync.WaitGroup
	for i, o := range s {
		all.Go(func() { errs[i] = f(o) }) // f ends
	}
	all.Wait()
	return errors.Join(errs...)
}
