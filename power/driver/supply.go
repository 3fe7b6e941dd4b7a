package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"walt/await"
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

// Feed is the supply of one node.
type Feed struct {
	Supply
	Node string // its name
	// Several says that it is that of several nodes: that one outlet gives power is not enough.
	Several bool
	// Still is asked right before an outlet is switched off: an error keeps it from that, as
	// somebody needs the node by now. Nil: nobody can.
	Still func(context.Context) error
}

// Status is the state of a node with this supply: On if an outlet is, Off if all are.
func (d *Drivers) Status(ctx context.Context, f Feed) (State, error) {
	found := map[State]int{}
	var mu sync.Mutex
	err := each(f.Supply, func(o Outlet) error {
		state, err := d.status(ctx, o, f.Node)
		mu.Lock()
		defer mu.Unlock()
		found[state]++
		return err
	})
	switch {
	case found[On] > 0:
		return On, err
	case len(f.Supply) > 0 && found[Off] == len(f.Supply):
		return Off, err
	}
	return Unknown, err
}

// status is that of one outlet, Unknown if it does not tell.
func (d *Drivers) status(ctx context.Context, o Outlet, node string) (State, error) {
	state, err := d.look(ctx, o, node)
	if errors.Is(err, ErrNotSupported) {
		return Unknown, nil
	}
	return state, err
}

// look is status, but for the error of an outlet that does not tell.
func (d *Drivers) look(ctx context.Context, o Outlet, node string) (state State, err error) {
	err = d.ask(ctx, o, node, func(ctx context.Context, m Means, t Target) (err error) {
		state, err = m.Status(ctx, t)
		return err
	})
	if err != nil || state != On && state != Off {
		state = Unknown
	}
	return state, err
}

// Switch gives a supply its power or takes it, all outlets at the same time, and returns
// when their states show it. When some could not be switched on, the error is Partly. When not
// all could be switched off, those that were have their power back when it returns, or the fault
// says that they do not.
func (d *Drivers) Switch(ctx context.Context, f Feed, on bool) error {
	defer await.Begin(ctx, f.Node, "switching %s %s", f.Supply, stateOf(on))()
	if on {
		return d.on(ctx, f)
	}
	cut, err := d.off(ctx, f)
	if cut && err != nil {
		err = GivenBack{errors.Join(d.restore(ctx, f, err), err)}
	}
	return err
}

// GivenBack is the error of a supply that could not be switched off as a whole: what was has
// its power back, or the error says that it has not. Each try is a moment without power.
type GivenBack struct{ error }

func (g GivenBack) Unwrap() error { return g.error }

// Partly is the error of a supply that has power, but not from all of its outlets.
type Partly struct{ error }

func (p Partly) Unwrap() error { return p.error }

// StaysOn reports whether an error is that of several outlets of which not all could be switched
// off, and which give power.
func StaysOn(err error) bool {
	s, is := errors.AsType[staysOn](err)
	return is && fault.As(err) == fault.As(s.error) // no worse was told since
}

// staysOn is the error of several outlets of one node of which not all could be switched off.
type staysOn struct{ error }

func (s staysOn) Unwrap() error { return s.error }

// kept makes an error of switching outlets off a staysOn. Where they are those of several nodes, it
// may be about these.
func (f Feed) kept(err error) error {
	if len(f.Supply) == 1 || f.Several || fault.As(err) == nil {
		return err
	}
	return staysOn{err}
}

// Cycle takes the power of a supply away for about that time. Once it has begun, the end of
// ctx cuts it short: the power is given back before Cycle returns, or the fault says that it is not.
func (d *Drivers) Cycle(ctx context.Context, f Feed, off time.Duration) error {
	defer await.Begin(ctx, f.Node, "switching %s off and on", f.Supply)()
	if len(f.Supply) == 1 {
		done, err := d.byItself(ctx, f, off)
		if done || err != nil {
			return err
		}
	}
	cut, err := d.off(ctx, f)
	if err == nil {
		dark := await.Begin(ctx, f.Node, "%s off for %v", f.Supply, off)
		err = pause.For(ctx, off)
		dark()
	}
	if err == nil {
		err = d.on(ctx, f)
	}
	if _, partly := errors.AsType[Partly](err); cut && err != nil && !partly {
		err = errors.Join(d.restore(ctx, f, err), err)
	}
	return err
}

// byItself has the device of an outlet that is on do the whole cycle, if it can.
func (d *Drivers) byItself(ctx context.Context, f Feed, off time.Duration) (done bool, err error) {
	o := f.Supply[0]
	if d.isOwn(o) {
		return false, ownFault(o)
	}
	if state, err := d.status(ctx, o, f.Node); err != nil || state != On {
		return false, err
	}
	cut := false
	err = d.ask(ctx, o, f.Node, func(ctx context.Context, m Means, t Target) error {
		c, can := m.(Cycler)
		if !can {
			return ErrNotSupported
		}
		if err := f.still(ctx); err != nil {
			return err
		}
		cut = true
		return c.Cycle(ctx, t, off)
	})
	if errors.Is(err, ErrNotSupported) {
		return false, nil
	}
	if err == nil {
		err = d.shows(ctx, o, f.Node, true)
	}
	if cut && err != nil {
		err = errors.Join(d.restore(ctx, f, err), err)
	}
	return true, err
}

func (d *Drivers) on(ctx context.Context, f Feed) error {
	var lit atomic.Bool
	err := each(f.Supply, func(o Outlet) error {
		err := d.turn(ctx, o, f, true, nil)
		if err == nil {
			lit.Store(true)
		}
		return err
	})
	if err != nil && ctx.Err() == nil && lit.Load() && !f.Several {
		err = Partly{err}
	}
	return err
}

// off reports whether an outlet may have been switched off, also if all could not be.
func (d *Drivers) off(ctx context.Context, f Feed) (may bool, err error) {
	for _, o := range f.Supply {
		if d.isOwn(o) {
			return false, ownFault(o)
		}
	}
	if len(f.Supply) > 1 { // none is cut while the device of another does not answer
		if _, err := d.Status(ctx, f); err != nil {
			return false, f.kept(err)
		}
	}
	var cut atomic.Bool
	err = each(f.Supply, func(o Outlet) error { return d.turn(ctx, o, f, false, &cut) })
	return cut.Load(), f.kept(err)
}

// restore is on, whatever became of ctx. A device that did not answer, as failed says, may do
// yet what it was told before, and is told once more after that.
func (d *Drivers) restore(ctx context.Context, f Feed, failed error) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreLimit)
	defer cancel()
	defer await.Begin(ctx, f.Node, "switching %s on again", f.Supply)()
	err := d.on(limited, f)
	if _, silent := errors.AsType[silence](failed); silent && err == nil {
		if err = pause.For(limited, showLimit); err == nil {
			err = d.on(limited, f)
		}
	}
	if _, partly := errors.AsType[Partly](err); err != nil && !partly {
		return fault.Failedf("%s may be left without power: %s", f.Supply, fault.Reason(err)).
			WithHint("see whether it is on; the server goes on trying")
	}
	return nil
}

// still is Still as it is asked within a request: what it says is final.
func (f Feed) still(ctx context.Context) error {
	if f.Still == nil {
		return nil
	}
	if err := f.Still(ctx); err != nil {
		return Refusal{err}
	}
	return nil
}

// turn switches one outlet, unless it shows that it is so, and waits until it does. It
// notes in cut when the device is told to switch it off. One whose device answers, but does not
// tell its state, is switched on all the same: somebody needs it.
func (d *Drivers) turn(ctx context.Context, o Outlet, f Feed, on bool, cut *atomic.Bool) error {
	state, untold := d.status(ctx, o, f.Node)
	if _, silent := errors.AsType[silence](untold); untold != nil && (silent || !on) || state == Off && !on {
		return untold
	}
	if on { // also one that shows that it is: it may be about to be off, as it was told before
		if err := d.stagger.wait(ctx); err != nil {
			return err
		}
	}
	err := d.ask(ctx, o, f.Node, func(ctx context.Context, m Means, t Target) error {
		if !on {
			if err := f.still(ctx); err != nil {
				return err
			}
			cut.Store(true)
		}
		return m.Switch(ctx, t, on)
	})
	if errors.Is(err, ErrNotSupported) {
		return fault.Failedf("%s cannot be switched %s", o, stateOf(on)).WithHint("see: help show power")
	}
	if err != nil && state != stateOf(on) { // what is on may refuse to be switched on
		return cmp.Or(untold, err)
	}
	return d.shows(ctx, o, f.Node, on)
}

// shows waits until an outlet shows what it was told to be. One that does not tell is
// believed; one that is on its way, or that does not answer meanwhile, has the time that is left.
func (d *Drivers) shows(ctx context.Context, o Outlet, node string, on bool) error {
	defer await.Begin(ctx, node, "%s was told to be %s", o, stateOf(on))()
	begun := time.Now()
	for look := firstLook; ; look = min(2*look, longestLook) {
		state, err := d.look(ctx, o, node)
		_, refused := errors.AsType[Refusal](err)
		switch {
		case errors.Is(err, ErrNotSupported), err == nil && state == stateOf(on):
			return nil
		case err != nil && (refused || ctx.Err() != nil || time.Since(begun) >= showLimit):
			return err
		case err == nil && time.Since(begun) >= showLimit:
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
