package images

import (
	"errors"
	"fmt"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Bequest is an image that passed to an heir, perhaps under another name.
type Bequest struct {
	From, To Ref
}

// PassOn gives the images of a user who is removed to an heir, within the
// transaction that removes the user. What boots them is the caller's.
func (c *Catalog) PassOn(tx state.Tx, actor journal.Actor, user, heir auth.Name) (all []Bequest, err error) {
	if ok, err := auth.Exists(tx, heir); err != nil {
		return nil, err
	} else if !ok {
		return nil, fault.Failedf("there is no user %s to pass the images to; nothing changed", heir).WithHint("see all users with: user show")
	}
	mine, err := Of(tx, user)
	if err != nil {
		return nil, err
	}
	for _, img := range mine {
		from := img.Ref
		if img.Ref, err = vacant(tx, heir, from, ""); err != nil {
			return nil, err
		}
		all = append(all, Bequest{from, img.Ref})
		e := journal.Event{Type: journal.Image, Actor: actor, From: from.String(), To: img.Ref.String(), Detail: "passed on"}
		if err := errors.Join(Put(tx, img), Delete(tx, from), c.Journal.Record(tx, e)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Hand returns, within the transaction that has a node of theirs boot it, a user's clone of
// an image of somebody else: made now, or an image that has such a name and its content
// already. Other images of the user stay as they are.
func (c *Catalog) Hand(tx state.Tx, actor journal.Actor, from Ref, to auth.Name) (clone Image, made bool, err error) {
	if clone, err = Get(tx, from); err != nil {
		return clone, false, err
	}
	if clone.Ref, err = vacant(tx, to, from, clone.Digest); err != nil {
		return clone, false, err
	}
	if have, here, err := Find(tx, clone.Ref); err != nil || here {
		return have, false, err
	}
	e := journal.Event{Type: journal.Image, Actor: actor, From: from.String(), To: clone.Ref.String(), Detail: "cloned"}
	return clone, true, errors.Join(Put(tx, clone), c.Journal.Record(tx, e))
}

// RemoveAll deletes the images of a user who is removed, within the transaction
// that removes the user and frees the nodes that boot them.
func (c *Catalog) RemoveAll(tx state.Tx, actor journal.Actor, user auth.Name) (all []Ref, err error) {
	mine, err := Of(tx, user)
	if err != nil {
		return nil, err
	}
	for _, img := range mine {
		all = append(all, img.Ref)
		e := journal.Event{Type: journal.Image, Actor: actor, From: img.Ref.String(), Detail: "removed"}
		if err := errors.Join(Delete(tx, img.Ref), c.Journal.Record(tx, e)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// vacant returns the heir's name for an image: its own, or with a number behind
// it when the heir has one of that name, and that has not the digest; "": whatever it has.
func vacant(r state.Reader, heir auth.Name, ref Ref, digest string) (Ref, error) {
	base := ref.Name
	ref.User = heir
	for n := 2; ; n++ {
		there, taken, err := Find(r, ref)
		if err != nil || !taken || digest != "" && there.Digest == digest {
			return ref, err
		}
		ref.Name = fmt.Sprintf("%.58s-%d", base, n)
	}
}

// Forget drops what is remembered of a removed user beside the images: whoever
// gets the name later is given first images again.
func Forget(tx state.Tx, user auth.Name) error {
	// Read, so that it conflicts with a seeding that goes on at the same time.
	if _, _, err := seeds.Find(tx, string(user)); err != nil {
		return err
	}
	return seeds.Delete(tx, string(user))
}
