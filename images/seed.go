package images

import (
	"context"
	"errors"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// WorkingSet returns the user's images. The first time that it is asked for
// while there are none, the default images of the models present are cloned
// into it and returned as seeded.
func (c *Catalog) WorkingSet(ctx context.Context, user auth.Name) (mine, seeded []Image, err error) {
	if seeded, err = c.Seed(ctx, user); err != nil {
		return nil, nil, err
	}
	mine, err = state.Read(ctx, c.Store, func(r state.Reader) ([]Image, error) { return Of(r, user) })
	return mine, seeded, err
}

// Seed is WorkingSet for who only needs that the first images are there; it takes
// no longer when there are many.
func (c *Catalog) Seed(ctx context.Context, user auth.Name) (seeded []Image, err error) {
	none, err := state.Read(ctx, c.Store, func(r state.Reader) (bool, error) { return hasNone(r, user) })
	if err != nil || !none {
		return nil, err
	}
	present, err := c.Nodes.Models(ctx)
	if err != nil {
		return nil, err
	}
	return c.seed(ctx, user, present)
}

// seed is left when a user got the first images; it is never given twice, also
// when the user removes them.
type seed struct {
	Time time.Time `json:"time"`
}

var seeds = state.NewTable[seed]("seeded")

// seed gives a user whose working set is empty, and who never had this before,
// clones of the default images of the models, and returns them. Defaults that
// share their clone's name, as those of one image for several models do, are
// cloned once, from the first model that lists it.
func (c *Catalog) seed(ctx context.Context, user auth.Name, models []Model) ([]Image, error) {
	todo, err := state.Read(ctx, c.Store, func(r state.Reader) ([]Image, error) { return unseeded(r, user, models) })
	if err != nil || len(todo) == 0 {
		return nil, err
	}
	var clones []Image
	_, err = c.Store.Update(ctx, func(tx state.Tx) error {
		clones = nil
		todo, err := unseeded(tx, user, models)
		if err != nil || len(todo) == 0 {
			return err
		}
		for _, def := range todo {
			clone, err := c.cloneDefault(tx, user.Actor(), def, user)
			if err != nil {
				return err
			}
			clones = append(clones, clone)
		}
		return seeds.Put(tx, string(user), seed{c.Now().UTC()})
	})
	if err != nil {
		return nil, err
	}
	return clones, nil
}

// unseeded returns the default images that seed has to clone.
func unseeded(r state.Reader, user auth.Name, models []Model) ([]Image, error) {
	if _, had, err := seeds.Find(r, string(user)); err != nil || had {
		return nil, err
	}
	if ok, err := auth.Exists(r, user); err != nil || !ok {
		return nil, err // removed since the session began
	}
	if none, err := hasNone(r, user); err != nil || !none {
		return nil, err
	}
	var todo []Image
	named := map[Ref]bool{}
	for _, model := range models {
		def, here, err := Find(r, DefaultRef(model))
		if err != nil {
			return nil, err
		}
		if !here {
			continue
		}
		if to := def.CloneRef(user); !named[to] {
			named[to] = true
			todo = append(todo, def)
		}
	}
	return todo, nil
}

// cloneDefault gives a user a clone of a default image, under the name that such
// clones have, which is not taken.
func (c *Catalog) cloneDefault(tx state.Tx, actor journal.Actor, def Image, user auth.Name) (Image, error) {
	clone := def
	clone.Ref = def.CloneRef(user)
	e := journal.Event{Type: journal.Image, Actor: actor, To: clone.Ref.String(), Detail: "cloned from " + def.Ref.String()}
	return clone, errors.Join(Put(tx, clone), c.Journal.Record(tx, e))
}

// CloneOfDefault returns, within the transaction that has a user's node boot it,
// the user's clone of the model's default image: made now, or the image of that
// name that is there, which must be for the model.
func (c *Catalog) CloneOfDefault(tx state.Tx, actor journal.Actor, model Model, user auth.Name) (clone, def Image, made bool, err error) {
	def, here, err := Find(tx, DefaultRef(model))
	if err == nil && !here {
		err = fault.Failedf("the default image of model %s is not here", model).WithHint("see its download with: device show")
	}
	if err != nil {
		return clone, def, false, err
	}
	clone, here, err = Find(tx, def.CloneRef(user))
	switch {
	case err != nil:
	case !here:
		clone, err = c.cloneDefault(tx, actor, def, user)
		return clone, def, true, err
	case !clone.Boots(model):
		err = fault.Failedf("your image %s is not for model %s, and the clone of the default image would have its name; nothing changed", clone.Ref.Short(), model).
			WithHint("take a fresh clone with: image clone --force walt:%s %s", def.Ref, clone.Ref.Short())
	}
	return clone, def, false, err
}
