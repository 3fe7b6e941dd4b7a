package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
)

// lookAtOnce is how many devices are asked at the same time.
const lookAtOnce = 256

// Reading is what a device says of an outlet.
type Reading struct {
	State State
	Why   string // it is Unknown, in words for users; "" where the device does not tell
	Hint  string // what helps against that, "" when it is not known
}

// unread is the Reading of an outlet whose state is not known.
func unread(why string) Reading { return Reading{State: Unknown, Why: why} }

// Unanswered is the Reading of an outlet of which a request failed, or cannot be made.
func Unanswered(err error) Reading {
	r := unread(fault.Reason(err))
	if f := fault.As(err); f != nil {
		r.Hint = f.Hint
	}
	return r
}

// Look asks for the states of outlets, which feed the nodes of these names: once, all devices
// at the same time, each for one outlet after the other, and for so long in all, so that one that
// is silent holds nobody up.
func (d *Drivers) Look(ctx context.Context, outlets map[Outlet]string, within time.Duration) map[Outlet]Reading {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	byDevice := map[Outlet][]Outlet{}
	for o := range outlets {
		byDevice[o.device()] = append(byDevice[o.device()], o)
	}
	found := make(map[Outlet]Reading, len(outlets))
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(lookAtOnce)
	for _, some := range byDevice {
		all.Go(func() error { // ends with ctx
			var r Reading
			silent := false
			for _, o := range some {
				if !silent { // else it is the same of all that it has
					r, silent = d.read(ctx, o, outlets[o], within)
				}
				mu.Lock()
				found[o] = r
				mu.Unlock()
			}
			return nil
		})
	}
	_ = all.Wait() // none returns one
	return found
}

// read is Look at one outlet. It reports whether its device is silent.
func (d *Drivers) read(ctx context.Context, o Outlet, node string, within time.Duration) (r Reading, silent bool) {
	if ctx.Err() != nil {
		return unread(fmt.Sprintf("it was not asked: %s takes longer than %v for what was asked before", o.device(), within)), false
	}
	have, done, err := d.use(o.Driver)
	if err != nil {
		return Unanswered(err), false
	}
	defer done()
	_, leave, err := d.turns.wait(ctx, o.device())
	if err != nil {
		return unread(fmt.Sprintf("it was not asked: %s is busy with what was ordered before", o.device())), false
	}
	defer leave()
	state := Unknown
	err = have.once(ctx, o, node, func(ctx context.Context, m Means, t Target) (err error) {
		state, err = m.Status(ctx, t)
		return err
	})
	switch {
	case errors.Is(err, ErrNotSupported):
		return Reading{State: Unknown}, false
	case err != nil && ctx.Err() != nil:
		return unread(fmt.Sprintf("%s did not answer within %v", o.device(), within)), false
	case err != nil:
		_, silent = errors.AsType[silence](err)
		return Unanswered(err), silent
	case state != On && state != Off:
		return unread("it is on its way"), false
	}
	return Reading{State: state}, false
}
