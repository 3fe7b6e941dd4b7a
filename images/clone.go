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

// Clone gives the content of an image another name: one record, no copy. It
// fails with a fault when that name is taken.
func Clone(tx state.Tx, from Image, to Ref) (Image, error) {
	switch _, err := Get(tx, to); {
	case err == nil:
		return Image{}, fault.Failedf("the image %s exists already", to)
	case !errors.Is(err, state.ErrNotFound):
		return Image{}, err
	}
	from.Ref = to
	return from, Put(tx, from)
}

// seed is left when a user got the first images; it is never given twice, also
// when the user removes them.
type seed struct {
	Time time.Time `json:"time"`
}

var seeds = state.NewTable[seed]("seeded")

// Seed gives a user whose working set is empty, and who never had this before,
// clones of the default images of the models, and returns them. Defaults that
// share their clone's name, as those of one image for several models do, are
// cloned once, from the first model that lists it.
func (l *Library) Seed(ctx context.Context, user auth.Name, models []Model) ([]Image, error) {
	var todo []Image
	err := l.store.View(ctx, func(r state.Reader) (err error) {
		todo, err = wanting(r, user, models)
		return err
	})
	if err != nil || len(todo) == 0 {
		return nil, err
	}
	var clones []Image
	_, err = l.store.Update(ctx, func(tx state.Tx) error {
		clones = nil
		todo, err := wanting(tx, user, models)
		if err != nil || len(todo) == 0 {
			return err
		}
		for _, from := range todo {
			clone, err := l.seedOne(tx, user, from)
			if err != nil {
				return err
			}
			clones = append(clones, clone)
		}
		return seeds.Put(tx, string(user), seed{l.now().UTC()})
	})
	if err != nil {
		return nil, err
	}
	return clones, nil
}

func (l *Library) seedOne(tx state.Tx, user auth.Name, from Image) (Image, error) {
	clone, err := Clone(tx, from, from.CloneRef(user))
	if err != nil {
		return Image{}, err
	}
	return clone, l.log.Record(tx, journal.Event{
		Type: journal.Image, Actor: string(user), To: clone.Ref.String(), Detail: "cloned from " + from.Ref.String(),
	})
}

// wanting returns the default images that Seed has to clone.
func wanting(r state.Reader, user auth.Name, models []Model) ([]Image, error) {
	switch _, err := seeds.Get(r, string(user)); {
	case err == nil:
		return nil, nil
	case !errors.Is(err, state.ErrNotFound):
		return nil, err
	}
	if ok, err := auth.Exists(r, user); err != nil || !ok {
		return nil, err // removed since the session began
	}
	for _, err := range table.Keys(r, string(user)+"/") {
		return nil, err // the working set is not empty
	}
	var todo []Image
	named := map[Ref]bool{}
	for _, model := range models {
		from, err := Get(r, DefaultRef(model))
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if to := from.CloneRef(user); !named[to] {
			named[to] = true
			todo = append(todo, from)
		}
	}
	return todo, nil
}

// Forget drops what is remembered of a removed user beside the images: whoever
// gets the name later is given first images again.
func Forget(tx state.Tx, user auth.Name) error {
	// Read, so that it conflicts with a Seed that goes on at the same time.
	if _, err := seeds.Get(tx, string(user)); err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return seeds.Delete(tx, string(user))
}
