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

// Terms are what a user wants done, or puts up with, for a clone.
type Terms struct {
	Force bool              // an image of the clone's name is overwritten
	Given consent.Agreement // to the restart of the nodes that boot that one
	// Ask asks for more when that is not enough, see consent.Seek. It may be nil.
	Ask    func(*consent.Error) error
	Report func(Progress) // how far the download is; may be nil
	// Tried is called while the first node of an update comes up, now and then; it
	// may be nil.
	Tried func(Trial)
	// Retry has an update try again what failed, or was put back.
	Retry bool
	// Platform is which variant is wanted; "" is that for the models of the image.
	Platform string
}

// Clone is a new image, and what came of restarting the nodes that boot it.
type Clone struct {
	Image    Image
	Restarts []Restart
}

// CloneName returns what the user's clone of an image will be called: name, or
// without one the name that it has there, or what is nearest to that, and then
// changed is set. It fails when there is no such location.
func (c *Catalog) CloneName(from Link, user auth.Name, name string) (to Ref, changed bool, err error) {
	if err := c.Content.HasLocation(from.Location); err != nil {
		return to, false, err
	}
	if name != "" {
		to, err = ParseName(user, name)
		return to, false, err
	}
	to, changed = from.Suggest(user)
	if _, err := ParseName(user, to.Short()); err != nil {
		return to, false, fault.Usagef("the name of %s cannot be turned into a valid one", from).
			WithHint("choose one: image clone %s NAME", from)
	}
	return to, changed, nil
}

// CloneFrom gives the user of `to` an image of that name with the content that
// the link names, wherever that is. An image that has the name is overwritten
// only with force: that restarts the nodes that boot it, which needs consent, and
// fails when one of them is of a model that the new content does not list.
//
// A download may take long. So what can be in the way is looked at before it,
// with what the other location says that it has, and once more after it, with
// what came. The download is a job that others see, and may cancel.
func (c *Catalog) CloneFrom(ctx context.Context, from Link, to Ref, terms Terms) (Clone, error) {
	cl := cloning{Catalog: c, from: from, to: to, Terms: terms}
	if from.Location == Here {
		return cl.cloneHere(ctx)
	}
	offered, err := cl.look(ctx)
	if err == nil {
		err = cl.rehearse(ctx, offered)
	}
	if err != nil {
		return Clone{}, err
	}
	var fetched Image
	err = c.transfer(ctx, "", from.String(), to.User, terms.Report, func(ctx context.Context, report func(Progress)) (err error) {
		fetched, err = c.Content.FetchLink(ctx, from, terms.Platform, report)
		return err
	})
	if err != nil {
		return Clone{}, err
	}
	return cl.do(ctx, func(state.Reader) (Image, error) { return fetched, nil })
}

// Load gives the user of `to` an image of that name with the content of an archive
// that the user sends, as CloneFrom does with that of a link. Whatever can be in the
// way is looked at before, but for what only the archive tells.
func (c *Catalog) Load(ctx context.Context, which Archived, to Ref, terms Terms) (Clone, error) {
	cl := cloning{Catalog: c, to: to, Terms: terms}
	there, err := state.Read(ctx, c.Store, func(r state.Reader) (Image, error) {
		img, _, err := Find(r, to)
		return img, err
	})
	if err != nil {
		return Clone{}, err
	}
	there.Digest = "" // other content, for the same models
	if err := cl.rehearse(ctx, there); err != nil {
		return Clone{}, err
	}
	var loaded Image
	err = c.transfer(ctx, "", "load "+to.Short(), to.User, terms.Report, func(ctx context.Context, report func(Progress)) (err error) {
		loaded, err = c.Content.Load(ctx, which, to, report)
		return err
	})
	if err != nil {
		return Clone{}, err
	}
	return cl.do(ctx, func(state.Reader) (Image, error) { return loaded, nil })
}

// cloning is a clone that is being made.
type cloning struct {
	*Catalog
	from Link // none: an archive
	to   Ref
	Terms
	rehearsing bool
}

// cloneHere makes a clone of an image of this server, of which there is one variant.
func (cl *cloning) cloneHere(ctx context.Context) (Clone, error) {
	find := func(r state.Reader) (Image, error) { return existing(r, cl.from.Ref) }
	if cl.Platform == "" {
		return cl.do(ctx, find)
	}
	img, err := state.Read(ctx, cl.Store, find)
	if err != nil {
		return Clone{}, err
	}
	is, err := cl.Content.Platform(img)
	if err != nil {
		return Clone{}, err
	}
	if is != "" && is != cl.Platform {
		return Clone{}, fault.Failedf("%s is for %s alone, not for %s; nothing changed", cl.from, is, cl.Platform).
			WithHint("an image of this server is for one platform: clone the other from where this one came from")
	}
	return cl.do(ctx, func(r state.Reader) (Image, error) {
		now, err := find(r)
		if err == nil && now.Digest != img.Digest {
			err = fault.Failedf("%s was overwritten at this moment; nothing changed", cl.from).WithHint("try again")
		}
		return now, err
	})
}

// errRehearsed undoes a change that was only tried.
var errRehearsed = errors.New("images: nothing was in the way")

// look tells what the other location has, where that matters for the rehearsal.
func (cl *cloning) look(ctx context.Context) (Image, error) {
	if !cl.Force {
		return Image{}, nil
	}
	return cl.Content.Look(ctx, cl.from, cl.Platform, cl.tell)
}

// rehearse fails as the clone would now, with the image that is offered.
func (cl *cloning) rehearse(ctx context.Context, offered Image) error {
	cl.rehearsing = true
	defer func() { cl.rehearsing = false }()
	_, err := cl.seek(ctx, func(tx Change) error {
		if err := cl.put(tx, offered); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

// tell tells who waits for the clone.
func (cl *cloning) tell(note string) {
	if cl.Report != nil {
		cl.Report(Progress{Note: note})
	}
}

// do makes the clone.
func (cl *cloning) do(ctx context.Context, content func(state.Reader) (Image, error)) (Clone, error) {
	var img Image
	restarts, err := cl.seek(ctx, func(tx Change) (err error) {
		if img, err = content(tx); err != nil {
			return err
		}
		return cl.put(tx, img)
	})
	img.Ref = cl.to
	return Clone{img, restarts}, err
}

// seek runs f as often as the user has to be asked.
func (cl *cloning) seek(ctx context.Context, f func(Change) error) (restarts []Restart, err error) {
	cl.Given, err = consent.Seek(cl.Given, cl.Ask, func(given consent.Agreement) (err error) {
		cl.Given = given
		restarts, err = cl.Nodes.Change(ctx, cl.to.User.Actor(), f)
		return err
	})
	return restarts, err
}

// put writes the record of the clone.
func (cl *cloning) put(tx Change, img Image) error {
	img.Ref = cl.to
	old, taken, err := Find(tx, cl.to)
	switch {
	case err != nil:
		return err
	case !taken:
	case !cl.Force:
		f := fault.Failedf("you have an image %s already", cl.to.Short())
		if cl.from == (Link{}) {
			return f.WithHint("overwrite it with: docker save IMAGE | ssh walt@SERVER image load --force %s", cl.to.Short())
		}
		return f.WithHint("overwrite it with: image clone --force %s %s", cl.from, cl.to.Short())
	default:
		if img.Digest != old.Digest && !cl.rehearsing { // then the content may not be here
			if err := tx.CanBoot(old.Ref, img); err != nil {
				return err
			}
		}
		if err := overwrite(tx, old, img, cl.Given); err != nil {
			return err
		}
	}
	e := journal.Event{Type: journal.Image, Actor: cl.to.User.Actor(), From: cl.from.String(), To: cl.to.String(), Detail: "cloned"}
	if cl.from == (Link{}) {
		e.From, e.Detail = "", "loaded from an archive, "+img.Digest
	}
	return errors.Join(Put(tx, img), cl.Journal.Record(tx, e))
}

// overwrite has the nodes that boot an image restarted on its new content, after
// checking that they can boot that, and that the user agreed.
func overwrite(tx Change, old, img Image, given consent.Agreement) error {
	using, err := tx.Booting(old.Ref)
	if err != nil {
		return err
	}
	var bad []string
	var shown []consent.Claim
	for _, n := range using {
		shown = append(shown, n.Claim)
		if !img.Boots(n.Model) {
			bad = append(bad, n.Node)
		}
	}
	if len(bad) > 0 {
		return fault.Failedf("%s is booted by %s, and the new content is only for %s; nothing changed",
			old.Ref.Short(), strings.Join(bad, ", "), strings.Join(ModelNames(img.Models), ", ")).
			WithHint("clone it under another name, or free what boots it: node release %s", strings.Join(bad, ","))
	}
	same := old.Digest == img.Digest
	if !same {
		if err := given.Check(shown); err != nil {
			return err
		}
	}
	for _, n := range using {
		if same && !n.Failed { // else what it lacked may have come
			continue
		}
		if err := tx.Restart(n); err != nil {
			return err
		}
	}
	return nil
}

// Duplicate gives an image of the user a second name; another image that has it is
// overwritten only with force.
func (c *Catalog) Duplicate(ctx context.Context, user auth.Name, name, second string, force bool) (from, to Image, err error) {
	if from, err = c.Own(ctx, user, name); err != nil {
		return from, to, err
	}
	ref, err := ParseName(user, second)
	if err != nil {
		return from, to, err
	}
	cloned, err := c.CloneFrom(ctx, Link{Here, from.Ref}, ref, Terms{Force: force && ref != from.Ref})
	return from, cloned.Image, err
}

// existing returns the image of a name, or a fault with near misses.
func existing(r state.Reader, ref Ref) (Image, error) {
	img, here, err := Find(r, ref)
	if here || err != nil {
		return img, err
	}
	all, err := All(r)
	if err != nil {
		return img, err
	}
	var known []string
	for _, i := range all {
		known = append(known, i.Ref.String())
	}
	return img, fault.Unknown("image", []string{ref.String()}, known, "see all images with: image show --all")
}
