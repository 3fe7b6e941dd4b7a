package images

import (
	"context"
	"errors"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Own returns an image of the user by its name, or a fault with near misses.
func (c *Catalog) Own(ctx context.Context, user auth.Name, name string) (Image, error) {
	ref, err := ParseOwn(user, name)
	if err != nil {
		return Image{}, err
	}
	return state.Read(ctx, c.Store, func(r state.Reader) (Image, error) { return Own(r, ref) })
}

// Own is Catalog.Own within a transaction; besides are other names that could
// have been meant.
func Own(r state.Reader, ref Ref, besides ...string) (Image, error) {
	img, here, err := Find(r, ref)
	if here || err != nil {
		return img, err
	}
	mine, err := Of(r, ref.User)
	if err != nil {
		return img, err
	}
	for _, i := range mine {
		besides = append(besides, i.Ref.Short())
	}
	return img, fault.Unknown("image", []string{ref.Short()}, besides, "see your images with: image show")
}

// Rename gives an image of the user that no node boots another name. One that has
// that name, and that no node boots, is replaced only with force. When nodes need the
// kernel that it lends under its name the user has to agree.
func (c *Catalog) Rename(ctx context.Context, user auth.Name, name, newName string, terms Terms) error {
	from, err := ParseOwn(user, name)
	if err != nil {
		return err
	}
	to, err := ParseName(user, newName)
	if err != nil {
		return err
	}
	return c.withdraw(ctx, from, terms, func(tx Change) error {
		img, err := unused(tx, from, "rename")
		if err != nil {
			return err
		}
		if _, taken, err := Find(tx, to); err != nil {
			return err
		} else if using, err := tx.Booting(to); err != nil {
			return err
		} else if taken && (!terms.Force || from == to || len(using) > 0) {
			return fault.Failedf("you have an image %s already; nothing changed", to.Short()).WithHint("choose another name")
		}
		img.Ref = to
		e := journal.Event{Type: journal.Image, Actor: user.Actor(), From: from.String(), To: to.String(), Detail: "renamed"}
		return errors.Join(Delete(tx, from), Put(tx, img), c.Journal.Record(tx, e))
	})
}

// Remove deletes an image of the user that no node boots. Its content stays
// while another image shares it. When nodes need the kernel that it lends the user has to
// agree: they go on with what they have, and cannot boot again.
func (c *Catalog) Remove(ctx context.Context, user auth.Name, name string, terms Terms) error {
	ref, err := ParseOwn(user, name)
	if err != nil {
		return err
	}
	return c.withdraw(ctx, ref, terms, func(tx Change) error {
		if _, err := unused(tx, ref, "remove"); err != nil {
			return err
		}
		e := journal.Event{Type: journal.Image, Actor: user.Actor(), From: ref.String(), Detail: "removed"}
		return errors.Join(Delete(tx, ref), c.Journal.Record(tx, e))
	})
}

// withdraw runs f, which takes the name of an image away, once the user agrees to what
// that does to those who need its kernel.
func (c *Catalog) withdraw(ctx context.Context, ref Ref, terms Terms, f func(Change) error) error {
	_, err := consent.Seek(terms.Given, terms.Ask, func(given consent.Agreement) error {
		borrowers, err := c.Nodes.Borrowers(ctx, ref)
		if err != nil {
			return err
		}
		_, err = c.Nodes.Change(ctx, ref.User.Actor(), func(tx Change) error {
			if err := f(tx); err != nil { // nobody is asked about what cannot be
				return err
			}
			return given.Check(borrowers)
		})
		return err
	})
	return err
}

// unused returns an image of the user; one that nodes boot is a fault that says
// that it cannot be done.
func unused(tx Change, ref Ref, verb string) (Image, error) {
	img, err := Own(tx, ref)
	if err != nil {
		return img, err
	}
	using, err := tx.Booting(ref)
	if err != nil || len(using) == 0 {
		return img, err
	}
	var names []string
	for _, n := range using {
		names = append(names, n.Node)
	}
	booted, them := "nodes boot it: "+strings.Join(names, ", "), "them"
	if len(names) == 1 {
		booted, them = names[0]+" boots it", "it"
	}
	return img, fault.Failedf("cannot %s %s while %s; nothing changed", verb, ref.Short(), booted).
		WithHint("release %s first, or boot %s on another image: node boot %s IMAGE", them, them, strings.Join(names, ","))
}
