package images

import (
	"context"
	"errors"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Default is what came of making an image the default one of a model.
type Default struct {
	Model    Model
	Same     bool      // it was already
	Kept     Ref       // under which name the replaced one stays; none: there was none
	Tried    string    // the node that booted it first; "" when none could be tried
	Restarts []Restart // the free nodes that boot it, except that
}

// SetDefault makes an image of the user, an administrator, the default image of each
// of its models, and calls each with what came of one. Where there is none, devices
// that wait for it become free nodes; where there is one, that is an update.
func (c *Catalog) SetDefault(ctx context.Context, user auth.Name, name string, terms Terms, each func(Default)) error {
	err := c.Store.View(ctx, func(r state.Reader) error { return auth.Require(r, user) })
	if fault.As(err) != nil {
		err = fault.Failedf("only administrators choose default images").WithHint("see who is one with: user show")
	}
	if err != nil {
		return err
	}
	img, err := c.Own(ctx, user, name)
	if err != nil {
		return err
	}
	for _, model := range img.Models {
		d, err := c.setDefault(ctx, user, model, img, terms)
		if f := fault.As(err); f != nil {
			err = fault.New(f.Kind, "not made the default image of %s: %s", model, f.Msg).WithHint("%s", f.Hint)
		}
		if err != nil {
			return err
		}
		each(d)
	}
	return nil
}

func (c *Catalog) setDefault(ctx context.Context, user auth.Name, model Model, img Image, terms Terms) (d Default, err error) {
	d.Model = model
	from, ref := img.Ref, DefaultRef(model)
	img.Ref = ref
	var present Image
	var here bool
	err = c.Store.View(ctx, func(r state.Reader) (err error) {
		present, here, err = Find(r, ref)
		return err
	})
	switch {
	case err != nil:
	case !here:
		d.Restarts, err = c.Nodes.Change(ctx, user.Actor(), func(tx Change) error {
			if _, here, err := Find(tx, ref); err != nil || here {
				return errors.Join(err, errUpdated)
			}
			e := journal.Event{Type: journal.Image, Actor: user.Actor(), From: from.String(), To: ref.String(), Detail: "made the default image"}
			return errors.Join(Put(tx, img), c.Journal.Record(tx, e), Unwant(tx, model), tx.Enroll(model, img))
		})
	case present.Digest == img.Digest:
		d.Same = true
	default:
		u, kept := Update{Image: present}, ref.tagged(c.today())
		err = c.take(ctx, user, terms, &u, img, kept, func(r state.Reader) (_, old Image, err error) {
			if old, err = Get(r, ref); err == nil && old.Digest != present.Digest {
				err = errUpdated
			}
			old.Ref = kept
			return img, old, err
		}, "made of "+from.String())
		d.Kept, d.Tried, d.Restarts = u.Kept, u.Tried, u.Restarts
	}
	return d, err
}
