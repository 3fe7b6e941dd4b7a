package nodes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"walt/auth"
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
	for _, img := range defaults {
		if datedTag.MatchString(img.Ref.Tag) {
			continue
		}
		u := Update{Image: img, Offers: l.Library.Offers(ctx, img.Ref)}
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

// update downloads the newest version and puts it in the place of the present one.
func (l *Lab) update(ctx context.Context, user auth.Name, u *Update) error {
	ref := u.Image.Ref
	ctx, report, end := l.Transfer(ctx, user, images.Link{Location: u.Newest.Location, Ref: ref}.String())
	defer end()
	fresh, err := l.Library.FetchLink(ctx, images.Link{Location: u.Newest.Location, Ref: ref}, report)
	if err != nil {
		return err
	}
	if err := lists(fresh, strings.TrimSuffix(ref.Name, "-default")); err != nil {
		return err
	}
	fresh.Ref = ref
	u.Kept = ref
	u.Kept.Tag = l.Now().UTC().Format("20060102")
	u.Changes, err = l.replace(ctx, user, ref, "updated from "+u.Newest.Location, func(images.Image, []images.Image) (images.Image, images.Ref, error) {
		return fresh, u.Kept, nil
	})
	return err
}

// PutBack makes the version of a default image that the last update replaced
// the present one again, and keeps the other in its place.
func (l *Lab) PutBack(ctx context.Context, user auth.Name, name string) ([]Change, error) {
	ref, err := images.ParseName(auth.Nobody, name)
	if err != nil {
		return nil, err
	}
	return l.replace(ctx, user, ref, "put back", func(_ images.Image, dated []images.Image) (images.Image, images.Ref, error) {
		if len(dated) == 0 {
			return images.Image{}, images.Ref{}, fault.Failedf("no update replaced %s: there is nothing to put back", ref).
				WithHint("see the default images with: image show --all")
		}
		old := dated[len(dated)-1]
		kept := old.Ref
		old.Ref = ref
		return old, kept, nil
	})
}

// replace puts another version in the place of a default image, keeps the one
// before under another tag, drops those kept earlier, and restarts the nodes
// that boot it: free ones, since nobody else boots a default image. choose gets
// the present version and those kept earlier, and returns the new one and where
// the present one is kept.
func (l *Lab) replace(ctx context.Context, user auth.Name, ref images.Ref, how string, choose func(present images.Image, dated []images.Image) (fresh images.Image, kept images.Ref, err error)) ([]Change, error) {
	nobody := Consent{Whoever: true} // only free nodes are restarted
	result, err := l.change(ctx, user, nobody, func(c *change) error {
		present, err := source(c.tx, ref)
		if err != nil {
			return err
		}
		all, err := images.Of(c.tx, ref.User)
		if err != nil {
			return err
		}
		dated := slices.DeleteFunc(all, func(img images.Image) bool { return img.Ref.Name != ref.Name || !datedTag.MatchString(img.Ref.Tag) })
		fresh, kept, err := choose(present, dated)
		if err != nil || fresh.Digest == present.Digest { // somebody else was first
			return err
		}
		if err := c.overwrite(present, fresh); err != nil {
			return err
		}
		for _, img := range dated {
			if err := images.Delete(c.tx, img.Ref); err != nil {
				return err
			}
		}
		present.Ref = kept
		e := journal.Event{
			Type: journal.Image, Actor: string(user), To: ref.String(),
			Detail: fmt.Sprintf("%s, created %s; the one before is %s", how, fresh.Created.UTC().Format("2006-01-02 15:04"), kept),
		}
		return errors.Join(images.Put(c.tx, present), images.Put(c.tx, fresh), l.Journal.Record(c.tx, e))
	})
	return result.Changes, err
}
