package nodes

import (
	"context"
	"errors"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/history"
	"walt/images"
	"walt/journal"
)

// Legacy says what becomes of the nodes and images of a user who leaves. The
// zero Legacy fails when there are any.
type Legacy struct {
	Force bool      // nodes are released, images deleted
	Heir  auth.Name // images, and so the nodes, pass to this user
	// Given is which machines of others may lose the kernel that the images lend them.
	Given consent.Agreement
}

// Estate is what became of a user's nodes and images.
type Estate struct {
	Released []Name
	Deleted  []images.Ref
	Passed   []images.Bequest
}

// RemoveUser removes a user of the lab and, in the same transaction, what the
// user leaves behind. Who may do that is a rule of auth. It fails with a *consent.Error
// when machines could not boot their images again without what the user's images lend
// them, unless the legacy has that agreed to: these go on with what they have.
func (l *Lab) RemoveUser(ctx context.Context, actor, name auth.Name, legacy Legacy) (Estate, error) {
	var left Estate
	borrowers, err := l.borrowers(ctx, func(ref images.Ref) bool { return ref.User == name })
	if err != nil {
		return Estate{}, err
	}
	_, err = l.change(ctx, actor.Actor(), consent.Agreement{Whoever: true, Because: "since " + string(name) + " was removed"}, func(c *change) (err error) {
		c.advice = "free some of their nodes first"
		if err := l.Users.Delete(c.tx, actor, name); err != nil {
			return err
		}
		if err := c.dropWishesOf(name); err != nil {
			return err
		}
		if left, err = c.bequeath(name, legacy); err != nil {
			return err
		}
		if err := c.forgetMate(ctx, name); err != nil {
			return err
		}
		if claims, err := c.stranded(borrowers, name); err != nil {
			return err
		} else if err := legacy.Given.Check(claims); err != nil {
			return err
		}
		if err := l.Journal.Write(c.tx, c.told); err != nil { // before what the user was told is forgotten
			return err
		}
		c.told, c.back = journal.Bundle{}, nil
		e := journal.Event{Type: journal.User, Actor: actor.Actor(), To: string(name), Detail: "user removed"}
		return errors.Join(l.Journal.Record(c.tx, e), l.Journal.Forget(c.tx, string(name)), history.Forget(c.tx, name), images.Forget(c.tx, name))
	})
	if err != nil {
		return Estate{}, err
	}
	return left, nil
}

// bequeath does with the user's nodes and images as the legacy says.
func (c *change) bequeath(name auth.Name, legacy Legacy) (left Estate, err error) {
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
		left.Passed, err = c.pass(all, name, legacy.Heir)
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
	left.Deleted, err = c.lab.Images.RemoveAll(c.tx, c.actor, name)
	return left, err
}

// pass gives the user's images to the heir, and with them the nodes that boot
// them. What the nodes run stays the same, so they are not restarted.
func (c *change) pass(owned []Device, name, heir auth.Name) ([]images.Bequest, error) {
	passed, err := c.lab.Images.PassOn(c.tx, c.actor, name, heir)
	if err != nil {
		return nil, err
	}
	became := map[images.Ref]images.Ref{}
	for _, p := range passed {
		became[p.From] = p.To
	}
	c.stay = true
	for _, d := range owned {
		if to, passed := became[d.Booted]; passed { // it may run its default image still
			d.Booted = to
		}
		if err := c.assign(d, became[d.Image]); err != nil {
			return nil, err
		}
	}
	return passed, nil
}
