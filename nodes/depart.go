package nodes

import (
	"context"
	"errors"
	"fmt"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/history"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Legacy says what becomes of the nodes and images of a user who leaves. The
// zero Legacy fails when there are any.
type Legacy struct {
	Force bool      // nodes are released, images deleted
	Heir  auth.Name // images, and so the nodes, pass to this user
}

// Departure is what became of a user's nodes and images.
type Departure struct {
	Released []Name
	Deleted  []images.Ref
	Passed   []Passing
}

// Passing is an image that went to the heir, perhaps under another name.
type Passing struct {
	From, To images.Ref
}

// RemoveUser removes a user of the lab and, in the same transaction, what the
// user leaves behind. Who may do that is a rule of auth.
func (l *Lab) RemoveUser(ctx context.Context, actor, name auth.Name, legacy Legacy) (Departure, error) {
	var left Departure
	_, err := l.change(ctx, auth.Actor(actor), consent.Given{Whoever: true, Because: "since " + string(name) + " was removed"}, func(c *change) (err error) {
		if err := auth.Delete(c.tx, actor, name); err != nil {
			return err
		}
		if left, err = c.bequeath(name, legacy); err != nil {
			return err
		}
		e := journal.Event{Type: journal.User, Actor: string(actor), To: string(name), Detail: "user removed"}
		return errors.Join(l.Journal.Record(c.tx, e), l.Journal.Forget(c.tx, string(name)), history.Forget(c.tx, name), images.Forget(c.tx, name))
	})
	if err != nil {
		return Departure{}, err
	}
	return left, nil
}

// bequeath does with the user's nodes and images as the legacy says.
func (c *change) bequeath(name auth.Name, legacy Legacy) (left Departure, err error) {
	all, err := ownedBy(c.tx, name)
	if err != nil {
		return left, err
	}
	mine, err := images.Of(c.tx, name)
	if err != nil {
		return left, err
	}
	switch {
	case legacy.Heir != "":
		left.Passed, err = c.pass(all, mine, legacy.Heir)
		return left, err
	case !legacy.Force && len(all)+len(mine) > 0:
		return left, fault.Failedf("%s still has nodes (%d) and images (%d); nothing changed", name, len(all), len(mine)).
			WithHint("release the nodes and delete the images: user remove %s --force\nor pass them on: user remove %s --heir USER", name, name)
	}
	if err := c.free(all); err != nil {
		return left, err
	}
	for _, d := range all {
		left.Released = append(left.Released, d.Name)
	}
	for _, img := range mine {
		left.Deleted = append(left.Deleted, img.Ref)
		if err := images.Delete(c.tx, img.Ref); err != nil {
			return left, err
		}
	}
	return left, nil
}

// pass gives images to the heir, and with them the nodes that boot them. What
// the nodes run stays the same, so they are not restarted.
func (c *change) pass(owned []Device, mine []images.Image, heir auth.Name) (passed []Passing, err error) {
	if ok, err := auth.Exists(c.tx, heir); err != nil {
		return nil, err
	} else if !ok {
		return nil, fault.Failedf("there is no user %s to pass the images to; nothing changed", heir).WithHint("see all users with: user show")
	}
	became := map[images.Ref]images.Ref{}
	for _, img := range mine {
		from := img.Ref
		if img.Ref, err = vacant(c.tx, heir, from); err != nil {
			return nil, err
		}
		became[from] = img.Ref
		passed = append(passed, Passing{from, img.Ref})
		e := journal.Event{Type: journal.Image, Actor: string(c.actor), From: from.String(), To: img.Ref.String(), Detail: "passed on"}
		if err := errors.Join(images.Put(c.tx, img), images.Delete(c.tx, from), c.lab.Journal.Record(c.tx, e)); err != nil {
			return nil, err
		}
	}
	c.stay = true
	for _, d := range owned {
		d.Booted = became[d.Booted]
		if err := c.boot(d, became[d.Image]); err != nil {
			return nil, err
		}
	}
	return passed, nil
}

// vacant returns the heir's name for an image: its own, or with a number behind
// it when the heir has one of that name.
func vacant(r state.Reader, heir auth.Name, ref images.Ref) (images.Ref, error) {
	base := ref.Name
	ref.User = heir
	for n := 2; ; n++ {
		_, err := images.Get(r, ref)
		if errors.Is(err, state.ErrNotFound) {
			return ref, nil
		}
		if err != nil {
			return ref, err
		}
		ref.Name = fmt.Sprintf("%.58s-%d", base, n)
	}
}
