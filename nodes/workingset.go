package nodes

import (
	"context"
	"errors"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// WorkingSet returns the user's images. The first time that it is asked for
// while there are none, the default images of the models present are cloned
// into it and returned as seeded.
func (l *Lab) WorkingSet(ctx context.Context, user auth.Name) (mine, seeded []images.Image, err error) {
	read := func() error {
		return l.Store.View(ctx, func(r state.Reader) (err error) {
			mine, err = images.Of(r, user)
			return err
		})
	}
	if err := read(); err != nil || len(mine) > 0 {
		return mine, nil, err
	}
	present, err := l.Models(ctx)
	if err != nil {
		return nil, nil, err
	}
	if seeded, err = l.Library.Seed(ctx, user, present); err != nil {
		return nil, nil, err
	}
	err = read() // another session of the user may have been first
	return mine, seeded, err
}

// Own returns an image of the user by its name, or a fault with near misses.
func (l *Lab) Own(ctx context.Context, user auth.Name, name string) (img images.Image, err error) {
	ref, err := images.ParseName(user, name)
	if err != nil {
		return img, err
	}
	err = l.Store.View(ctx, func(r state.Reader) error {
		img, err = own(r, ref)
		return err
	})
	return img, err
}

func own(r state.Reader, ref images.Ref, besides ...string) (images.Image, error) {
	img, err := images.Get(r, ref)
	if !errors.Is(err, state.ErrNotFound) {
		return img, err
	}
	mine, err := images.Of(r, ref.User)
	if err != nil {
		return img, err
	}
	for _, i := range mine {
		besides = append(besides, i.Ref.Short())
	}
	return img, fault.Unknown("image", []string{ref.Short()}, besides, "see your images with: image show")
}

// RemoveImage deletes an image of the user that no node boots. Its content
// stays while another image shares it.
func (l *Lab) RemoveImage(ctx context.Context, user auth.Name, name string) error {
	ref, err := images.ParseName(user, name)
	if err != nil {
		return err
	}
	_, err = l.change(ctx, auth.Actor(user), consent.Given{}, func(c *change) error {
		if _, err := c.unused(ref, "remove"); err != nil {
			return err
		}
		e := journal.Event{Type: journal.Image, Actor: string(user), From: ref.String(), Detail: "removed"}
		return errors.Join(images.Delete(c.tx, ref), l.Journal.Record(c.tx, e))
	})
	return err
}

// RenameImage gives an image of the user that no node boots another name.
func (l *Lab) RenameImage(ctx context.Context, user auth.Name, name, newName string) error {
	from, err := images.ParseName(user, name)
	if err != nil {
		return err
	}
	to, err := images.ParseName(user, newName)
	if err != nil {
		return err
	}
	_, err = l.change(ctx, auth.Actor(user), consent.Given{}, func(c *change) error {
		img, err := c.unused(from, "rename")
		if err != nil {
			return err
		}
		if err := vacancy(c.tx, to); err != nil {
			return err
		}
		img.Ref = to
		e := journal.Event{Type: journal.Image, Actor: string(user), From: from.String(), To: to.String(), Detail: "renamed"}
		return errors.Join(images.Delete(c.tx, from), images.Put(c.tx, img), l.Journal.Record(c.tx, e))
	})
	return err
}

// vacancy is a fault when there is an image of that name.
func vacancy(r state.Reader, ref images.Ref) error {
	_, err := images.Get(r, ref)
	switch {
	case err == nil:
		return fault.Failedf("you have an image %s already; nothing changed", ref.Short()).WithHint("choose another name")
	case errors.Is(err, state.ErrNotFound):
		return nil
	}
	return err
}

// unused returns an image of the user; one that nodes boot is a fault that says
// that it cannot be done.
func (c *change) unused(ref images.Ref, verb string) (images.Image, error) {
	img, err := own(c.tx, ref)
	if err != nil {
		return img, err
	}
	ds, err := booting(c.tx, ref)
	if err != nil {
		return img, err
	}
	if using := names(ds, func(Device) bool { return true }); len(using) > 0 {
		return img, fault.Failedf("cannot %s %s while nodes boot it: %s; nothing changed", verb, ref.Short(), strings.Join(using, ", ")).
			WithHint("release them first, or boot them on another image: node boot %s IMAGE", strings.Join(using, ","))
	}
	return img, nil
}
