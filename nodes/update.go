package nodes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Update is what became of one default image.
type Update struct {
	Image   images.Image   // as it was before
	Offers  []images.Offer // what each location has under its name
	Newest  *images.Offer  // the newest one that is newer than Image; nil without any
	Kept    images.Ref     // under which name the replaced one stays
	Changes []Change       // the free nodes that boot it and were restarted
	Err     error          // why it was not replaced
}

// datedTag is the tag of a default image that an update replaced.
var datedTag = regexp.MustCompile(`^[0-9]{8}$`)

// UpdateDefaults looks for a newer version of each default image here, in every
// registry and in the docker daemon, and replaces it by the newest. Free nodes
// that boot it are restarted; clones of users stay as they are. The replaced
// version is kept under the date of today as its tag, until the next update. It
// calls each with what became of one image. A dry run changes nothing.
func (l *Lab) UpdateDefaults(ctx context.Context, user auth.Name, dry bool, each func(Update)) error {
	var defaults []images.Image
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		defaults, err = images.Of(r, auth.Nobody)
		return err
	})
	if err != nil {
		return err
	}
	defaults = slices.DeleteFunc(defaults, func(img images.Image) bool { return datedTag.MatchString(img.Ref.Tag) })
	for _, u := range l.offers(ctx, defaults) {
		img := u.Image
		for i, o := range u.Offers {
			newest := img.Created
			if u.Newest != nil {
				newest = u.Newest.Created
			}
			if o.Err == nil && o.Digest != img.Digest && o.Created.After(newest) {
				u.Newest = &u.Offers[i]
			}
		}
		if u.Newest != nil && !dry {
			u.Err = l.update(ctx, user, &u)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		each(u)
	}
	return nil
}

// offers asks for all images at once, so that a location that does not answer is
// waited for once.
func (l *Lab) offers(ctx context.Context, all []images.Image) []Update {
	updates := make([]Update, len(all))
	var asked sync.WaitGroup
	for i, img := range all {
		asked.Go(func() { updates[i] = Update{Image: img, Offers: l.Library.Offers(ctx, img.Ref)} }) // ends in the library's time
	}
	asked.Wait()
	return updates
}

// update downloads the newest version and puts it in the place of the present one.
func (l *Lab) update(ctx context.Context, user auth.Name, u *Update) error {
	ref := u.Image.Ref
	link := images.Link{Location: u.Newest.Location, Ref: ref}
	ctx, report, end := l.Transfer(ctx, user, link.String())
	defer end()
	fresh, err := l.Library.FetchLink(ctx, link, report)
	if err != nil {
		return err
	}
	if model := images.Model(strings.TrimSuffix(ref.Name, "-default")); !fresh.Boots(model) {
		return fault.Failedf("it does not list the model %s in its label walt.node.models", model)
	}
	u.Kept = ref
	u.Kept.Tag = l.Now().UTC().Format("20060102")
	u.Changes, err = l.replace(ctx, user, func(c *change) (old, kept images.Image, err error) {
		if old, err = images.Get(c.tx, ref); err != nil {
			return old, kept, err
		}
		if !fresh.Created.After(old.Created) {
			return old, kept, fault.Failedf("already updated by someone else")
		}
		kept = old
		kept.Ref = u.Kept
		fresh.Ref = ref
		return fresh, kept, nil
	}, "updated from "+u.Newest.Location)
	return err
}

// PutBack makes the version of a default image that the last update replaced
// the present one again, and keeps the other in its place. It returns the
// version that is present now.
func (l *Lab) PutBack(ctx context.Context, user auth.Name, name string) (images.Image, []Change, error) {
	ref, err := images.ParseName(auth.Nobody, name)
	if err != nil {
		return images.Image{}, nil, err
	}
	var back images.Image
	changes, err := l.replace(ctx, user, func(c *change) (_, kept images.Image, err error) {
		present, err := source(c.tx, ref)
		if err != nil {
			return back, kept, err
		}
		dated, err := replaced(c.tx, ref)
		if err != nil {
			return back, kept, err
		}
		if len(dated) == 0 {
			return back, kept, fault.Failedf("no update replaced %s: there is nothing to put back", name)
		}
		back, kept = dated[0], present
		back.Ref, kept.Ref = present.Ref, back.Ref
		return back, kept, nil
	}, "put back")
	return back, changes, err
}

// replaced returns the versions of a default image that updates replaced.
func replaced(r state.Reader, ref images.Ref) (dated []images.Image, err error) {
	all, err := images.Of(r, ref.User)
	for _, img := range all {
		if img.Ref.Name == ref.Name && datedTag.MatchString(img.Ref.Tag) {
			dated = append(dated, img)
		}
	}
	return dated, err
}

// Replaced returns the default images that have a version to put back.
func (l *Lab) Replaced(ctx context.Context) (refs []images.Ref, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		refs = nil
		all, err := images.Of(r, auth.Nobody)
		for _, img := range all {
			if datedTag.MatchString(img.Ref.Tag) {
				refs = append(refs, images.Ref{User: auth.Nobody, Name: img.Ref.Name, Tag: "latest"})
			}
		}
		return err
	})
	return refs, err
}

// replace makes one version of a default image the present one, keeps another
// under its dated tag and drops those kept earlier: choose says which, in the
// same transaction. The nodes that boot the name are restarted: free ones, since
// nobody else boots a default image.
func (l *Lab) replace(ctx context.Context, user auth.Name, choose func(*change) (present, kept images.Image, err error), how string) ([]Change, error) {
	nobody := consent.Given{Whoever: true} // only free nodes are restarted
	result, err := l.change(ctx, auth.Actor(user), nobody, func(c *change) error {
		present, kept, err := choose(c)
		if err != nil {
			return err
		}
		old, err := images.Get(c.tx, present.Ref)
		if err != nil {
			return err
		}
		if err := c.overwrite(old, present); err != nil {
			return err
		}
		dated, err := replaced(c.tx, present.Ref)
		if err != nil {
			return err
		}
		for _, img := range dated {
			if err := images.Delete(c.tx, img.Ref); err != nil {
				return err
			}
		}
		e := journal.Event{
			Type: journal.Image, Actor: string(user), To: present.Ref.String(),
			Detail: fmt.Sprintf("%s, created %s; the one before is %s", how, present.Created.UTC().Format("2006-01-02 15:04"), kept.Ref),
		}
		return errors.Join(images.Put(c.tx, kept), images.Put(c.tx, present), l.Journal.Record(c.tx, e))
	})
	return result.Changes, err
}
