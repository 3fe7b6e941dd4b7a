package nodes

import (
	"context"
	"errors"
	"fmt"

	"walt/consent"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Itself is told which model a board says that it is which is up. One that was taken for
// another one becomes that while it is free, in the transaction that gives it the default
// image of that model, when this is here. Else, and when a user told its model, it stays what
// it is, and is shown as one that reports itself as something else.
func (l *Lab) Itself(ctx context.Context, n Name, model images.Model) error {
	d, err := state.Read(ctx, l.Store, func(r state.Reader) (Device, error) {
		d, _, err := devices.Find(r, string(n))
		return d, err
	})
	if err != nil || d.Kind != Node || d.Virtual() || d.Model == model && d.Reports == "" {
		return err
	}
	c, err := l.commit(ctx, journal.Server, consent.Agreement{}, func(c *change) error { return c.become(n, model) })
	if err != nil || len(c.moved) == 0 {
		return err
	}
	l.works.Go(func() { // ends within its limit; Run waits for it
		if err := c.restart(context.WithoutCancel(ctx)); err != nil {
			l.Log.Error("have a board boot the image of its model", "node", n, "err", err)
		}
	})
	return nil
}

// become makes a node one of another model, as far as that may be.
func (c *change) become(n Name, model images.Model) error {
	d, here, err := devices.Find(c.tx, string(n))
	if err != nil || !here || d.Kind != Node {
		return err
	}
	def, found, err := images.Find(c.tx, images.DefaultRef(model))
	if err != nil {
		return err
	}
	if d.Model == model || d.Told || !found || !def.Boots(model) || !d.Image.IsDefault(d.Model) {
		reports := model
		if d.Model == model {
			reports = ""
		}
		if d.Reports == reports {
			return nil
		}
		d.Reports = reports
		return devices.Put(c.tx, string(n), d)
	}
	was := d.Model
	d.Model, d.Reports = model, ""
	c.told.Record(registration(c.actor, d, fmt.Sprintf("reports itself as %s, and was taken for %s", model, was)))
	if c.stay = d.Digest == def.Digest; c.stay { // it runs that
		d.Booted = def.Ref
	}
	return errors.Join(index(c.tx, d), c.assignImage(d, def))
}
