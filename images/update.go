package images

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Update is what became of one default image.
type Update struct {
	Image    Image     // as it was before
	Offers   []Offer   // what each location has under its name
	Newest   *Offer    // the newest one that is newer than Image; nil without any
	Skipped  *Image    // the newer version that was put back from, or failed; what is no newer than it is left alone
	Kept     Ref       // under which name the replaced one stays
	Tried    string    // the node that booted it first; "" when none could be tried
	Restarts []Restart // the free nodes that boot it, except that
	Err      error     // why it was not replaced
}

// Failed reports whether a version of a default image is kept because it did not
// come up on its first node.
func (i Image) Failed() bool { return i.Ref.User == auth.Nobody && i.Ref.Tag == failedTag }

// datedTag is the tag of a default image that an update replaced.
var datedTag = regexp.MustCompile(`^[0-9]{8}$`)

// UpdateDefaults looks for a newer version of each default image here, in every
// registry and in the docker daemon, and replaces it by the newest. Free nodes
// that boot it are restarted, one of them before the others: if it does not come up,
// the old version stays, and this one is skipped from then on, but for a retry. When somebody has a
// session on one, that needs consent. Clones of users stay as they are. The replaced version is kept under
// the date of today as its tag, until the next update; after PutBack it is what an
// update has to be newer than. It calls each with what became of one image. A dry
// run changes nothing.
func (c *Catalog) UpdateDefaults(ctx context.Context, user auth.Name, dry bool, terms Terms, each func(Update)) error {
	defaults, err := state.Read(ctx, c.Store, func(r state.Reader) ([]Image, error) { return Of(r, auth.Nobody) })
	if err != nil {
		return err
	}
	kept := map[string]Image{} // by name, the last created
	defaults = slices.DeleteFunc(defaults, func(img Image) bool {
		version := datedTag.MatchString(img.Ref.Tag) || img.Ref.Tag == failedTag
		if version && !kept[img.Ref.Name].Created.After(img.Created) {
			kept[img.Ref.Name] = img
		}
		return version || img.Ref.Tag == candidateTag
	})
	for _, u := range c.offers(ctx, defaults) {
		img := u.Image
		newest := img.Created
		if back := kept[img.Ref.Name]; !terms.Retry && back.Created.After(newest) {
			u.Skipped, newest = &back, back.Created
		}
		for i, o := range u.Offers {
			if o.Err == nil && o.Digest != img.Digest && o.Created.After(newest) {
				u.Newest, newest = &u.Offers[i], o.Created
			}
		}
		if u.Newest != nil && !dry {
			u.Err = c.update(ctx, user, terms, &u)
		}
		if f := fault.As(u.Err); ctx.Err() != nil && f != nil && f.Kind == fault.Interrupted {
			return f
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
func (c *Catalog) offers(ctx context.Context, all []Image) []Update {
	updates := make([]Update, len(all))
	var asked sync.WaitGroup
	for i, img := range all {
		asked.Go(func() { updates[i] = Update{Image: img, Offers: c.Content.Offers(ctx, img.Ref)} }) // ends in the library's time
	}
	asked.Wait()
	return updates
}

// update downloads the newest version and puts it in the place of the present one.
func (c *Catalog) update(ctx context.Context, user auth.Name, terms Terms, u *Update) error {
	ref := u.Image.Ref
	link := Link{Location: u.Newest.Location, Ref: ref}
	var fresh Image
	err := c.transfer(ctx, "", link.String(), user, nil, func(ctx context.Context, report func(Progress)) (err error) {
		fresh, err = c.Content.FetchLink(ctx, link, "", report)
		return err
	})
	if err != nil {
		return err
	}
	if model := Model(strings.TrimSuffix(ref.Name, defaultSuffix)); !fresh.Boots(model) {
		return fault.Failedf("it does not list the model %s in its label walt.node.models", model)
	}
	kept := ref.tagged(c.today())
	return c.take(ctx, user, terms, u, fresh, kept, fresh.instead(ref, kept), "updated from "+u.Newest.Location)
}

// today is the tag of what an update of today replaces.
func (c *Catalog) today() string { return c.Now().UTC().Format("20060102") }

// take puts a fresh version in the place of the present one, which is kept under a
// name, when it is up on one node and choose still has it so.
func (c *Catalog) take(ctx context.Context, user auth.Name, terms Terms, u *Update, fresh Image, kept Ref, choose func(state.Reader) (present, kept Image, err error), how string) error {
	ref := u.Image.Ref
	end, err := c.trials.begin(ref, user)
	if err != nil {
		return err
	}
	defer end()
	if err := c.recall(ctx, journal.Server, ref, "", true); err != nil { // of an earlier one that could not be ended
		return err
	}
	tried, err := c.tryOut(ctx, user, &terms, u.Image, fresh)
	if err == nil {
		u.Tried, u.Kept = tried, kept
		u.Restarts, err = c.replace(ctx, user, terms, choose, how)
	}
	if err == nil {
		u.Restarts = slices.DeleteFunc(u.Restarts, func(r Restart) bool { return r.Node == tried }) // it went on
		return nil
	}
	return c.undo(ctx, user, tried, u, err)
}

// undo ends an update that is not to be, and returns why; that is nothing more than
// what was wrong with it, unless it was interrupted.
func (c *Catalog) undo(ctx context.Context, user auth.Name, tried string, u *Update, why error) error {
	failed := ""
	if f := fault.As(why); f != nil && u.Tried == "" && tried != "" && ctx.Err() == nil {
		failed = f.Msg
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var err error
	if u.Restarts, err = c.recalled(limited, user.Actor(), u.Image.Ref, failed, true); err != nil {
		return errors.Join(err, why)
	}
	if ctx.Err() != nil && len(u.Restarts) > 0 {
		return fault.New(fault.Interrupted, "interrupted: %s stays as it was, and %s boots it again", u.Image.Ref.Short(), tried)
	}
	return why
}

// undoLimit is how long ending an update may take.
const undoLimit = time.Minute

// instead chooses, for replace, a fresh version of the default image ref if it is
// newer than the present one, which is kept as the name says.
func (i Image) instead(ref, keptAs Ref) func(state.Reader) (present, kept Image, err error) {
	i.Ref = ref
	return func(r state.Reader) (_, kept Image, err error) {
		if kept, err = Get(r, ref); err == nil && !i.Created.After(kept.Created) {
			err = errUpdated
		}
		kept.Ref = keptAs
		return i, kept, err
	}
}

// PutBack makes the version of a default image that the last update replaced
// the present one again, and keeps the other in its place. It returns the
// version that is present now.
func (c *Catalog) PutBack(ctx context.Context, user auth.Name, name string, terms Terms) (Image, []Restart, error) {
	ref, err := ParseName(auth.Nobody, name)
	if err != nil {
		return Image{}, nil, err
	}
	switch {
	case datedTag.MatchString(ref.Tag): // as it is shown
		ref.Tag = latest
	case ref.Tag != latest:
		return Image{}, nil, fault.Failedf("%s is no default image that an update replaced", name).
			WithHint("see what is there with: image show --all")
	}
	var back Image
	restarts, err := c.replace(ctx, user, terms, func(r state.Reader) (_, kept Image, err error) {
		present, err := existing(r, ref)
		if err != nil {
			return back, kept, err
		}
		dated, err := replaced(r, ref)
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
	return back, restarts, err
}

// replaced returns the versions of a default image that updates replaced.
func replaced(r state.Reader, ref Ref) (dated []Image, err error) {
	all, err := Of(r, ref.User)
	for _, img := range all {
		if img.Ref.Name == ref.Name && datedTag.MatchString(img.Ref.Tag) {
			dated = append(dated, img)
		}
	}
	return dated, err
}

// Replaced returns the default images that have a version to put back.
func (c *Catalog) Replaced(ctx context.Context) (refs []Ref, err error) {
	all, err := state.Read(ctx, c.Store, func(r state.Reader) ([]Image, error) { return Of(r, auth.Nobody) })
	for _, img := range all {
		if datedTag.MatchString(img.Ref.Tag) {
			refs = append(refs, Ref{User: auth.Nobody, Name: img.Ref.Name, Tag: latest})
		}
	}
	return refs, err
}

// replace makes one version of a default image the present one, keeps another
// under its dated tag and drops those kept earlier: choose says which, in the
// same transaction. The nodes that boot the name are restarted: free ones, since
// nobody else boots a default image. That ends the sessions on them, which needs
// consent.
func (c *Catalog) replace(ctx context.Context, user auth.Name, terms Terms, choose func(state.Reader) (present, kept Image, err error), how string) (restarts []Restart, err error) {
	_, err = consent.Seek(terms.Given, terms.Ask, func(given consent.Agreement) (err error) {
		restarts, err = c.replaceWith(ctx, user, given, choose, how)
		return err
	})
	return restarts, err
}

func (c *Catalog) replaceWith(ctx context.Context, user auth.Name, given consent.Agreement, choose func(state.Reader) (present, kept Image, err error), how string) ([]Restart, error) {
	nobody := consent.Agreement{Whoever: true} // only free nodes are restarted
	return c.Nodes.Change(ctx, user.Actor(), func(tx Change) error {
		present, kept, err := choose(tx)
		if err != nil {
			return err
		}
		old, err := Get(tx, present.Ref)
		if err != nil {
			return err
		}
		if err := tx.CanBoot(old.Ref, present); err != nil {
			return err
		}
		if err := visited(tx, old.Ref, given); err != nil {
			return err
		}
		if err := overwrite(tx, old, present, nobody); err != nil {
			return err
		}
		if err := drop(tx, present); err != nil {
			return err
		}
		e := journal.Event{
			Type: journal.Image, Actor: user.Actor(), To: present.Ref.String(),
			Detail: fmt.Sprintf("%s, created %s; the one before is %s", how, present.Created.UTC().Format("2006-01-02 15:04"), kept.Ref),
		}
		return errors.Join(Put(tx, kept), Put(tx, present), accept(tx, present), c.Journal.Record(tx, e))
	})
}

// drop deletes within tx the versions of a default image that are of no use any
// more, as another one is put in its place: the one kept earlier, and what failed
// unless it is newer.
func drop(tx Change, present Image) error {
	gone, err := replaced(tx, present.Ref)
	if err != nil {
		return err
	}
	failed, here, err := Find(tx, present.Ref.tagged(failedTag))
	if err != nil {
		return err
	}
	if here && !failed.Created.After(present.Created) {
		gone = append(gone, failed)
	}
	for _, img := range gone {
		err = errors.Join(err, Delete(tx, img.Ref))
	}
	return err
}

// visited checks that the user agreed to end the sessions on the nodes that boot
// an image.
func visited(tx Change, ref Ref, given consent.Agreement) error {
	using, err := tx.Booting(ref)
	if err != nil {
		return err
	}
	var shown []consent.Claim
	for _, n := range using {
		for _, who := range n.Visitors {
			shown = append(shown, consent.Claim{Node: n.Node, Owner: who})
		}
	}
	return given.Check(shown)
}
