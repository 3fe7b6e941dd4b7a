package driver

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
)

const (
	// lookLimit is how long it may take in all to ask for the states of outlets, so that a
	// device that is silent holds nobody up.
	lookLimit = 4 * time.Second
	// lookAtOnce is how many devices are asked at the same time.
	lookAtOnce = 256
)

// Reading is what a device says of an outlet.
type Reading struct {
	State State
	Why   string // it is Unknown, in words for users; "" where the device does not tell
}

// Look asks for the states of outlets, which feed the nodes of these names: once, all devices
// at the same time, each for one outlet after the other, and for 4 s in all.
func (d *Drivers) Look(ctx context.Context, outlets map[Outlet]string) map[Outlet]Reading {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
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
			for _, o := range some {
				r := d.read(ctx, o, outlets[o])
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

// read is Look at one outlet.
func (d *Drivers) read(ctx context.Context, o Outlet, node string) Reading {
	if ctx.Err() != nil {
		return Reading{Unknown, "it was not asked: " + o.device().String() + " takes longer than " + lookLimit.String() + " for what was asked before"}
	}
	have, done, err := d.use(o.Driver)
	if err != nil {
		return Reading{Unknown, fault.Reason(err)}
	}
	defer done()
	_, leave, err := d.turns.wait(ctx, o.device())
	if err != nil {
		return Reading{Unknown, "it was not asked: " + o.device().String() + " is busy with what was ordered before"}
	}
	defer leave()
	state := Unknown
	err = have.once(ctx, o, node, func(ctx context.Context, m Means, t Target) (err error) {
		state, err = m.Status(ctx, t)
		return err
	})
	switch {
	case errors.Is(err, ErrNotSupported):
		return Reading{State: Unknown}
	case err != nil && ctx.Err() != nil:
		return Reading{Unknown, o.device().String() + " did not answer within " + lookLimit.String()}
	case err != nil:
		return Reading{Unknown, fault.Reason(err)}
	case state != On && state != Off:
		return Reading{Unknown, "it is on its way"}
	}
	return Reading{State: state}
}
