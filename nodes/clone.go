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

// Clone gives the user an image with the content of another one of this server,
// under the name `to`. One of that name is only overwritten with force; that
// restarts the nodes that boot it, which needs consent, and fails when one of
// them is of a model that the new content does not list.
func (l *Lab) Clone(ctx context.Context, from, to images.Ref, force bool, given consent.Given) (images.Image, Result, error) {
	return l.receive(ctx, images.Link{Location: images.Here, Ref: from}, to, force, given,
		func(r state.Reader) (images.Image, error) { return source(r, from) })
}

// Receive is Clone with content that was fetched from another location.
func (l *Lab) Receive(ctx context.Context, fetched images.Image, from images.Link, to images.Ref, force bool, given consent.Given) (images.Image, Result, error) {
	return l.receive(ctx, from, to, force, given, func(state.Reader) (images.Image, error) { return fetched, nil })
}

func (l *Lab) receive(ctx context.Context, from images.Link, to images.Ref, force bool, given consent.Given, content func(state.Reader) (images.Image, error)) (images.Image, Result, error) {
	var img images.Image
	result, err := l.change(ctx, auth.Actor(to.User), given, func(c *change) (err error) {
		if img, err = content(c.tx); err != nil {
			return err
		}
		img.Ref = to
		old, err := images.Get(c.tx, to)
		switch {
		case errors.Is(err, state.ErrNotFound):
		case err != nil:
			return err
		case !force:
			return taken(from, to)
		default:
			if err := c.overwrite(old, img); err != nil {
				return err
			}
		}
		e := journal.Event{Type: journal.Image, Actor: string(to.User), From: from.String(), To: to.String(), Detail: "cloned"}
		return errors.Join(images.Put(c.tx, img), l.Journal.Record(c.tx, e))
	})
	return img, result, err
}

// MayReceive fails as Receive would now, with the content that the other
// location says to have: asked before a long download, since the change itself
// comes after it and checks all of this again.
func (l *Lab) MayReceive(ctx context.Context, offered images.Image, from images.Link, to images.Ref, force bool, given consent.Given) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		if err := auth.Member(r, to.User); err != nil {
			return err
		}
		old, err := images.Get(r, to)
		switch {
		case errors.Is(err, state.ErrNotFound):
			return nil
		case err != nil:
			return err
		case !force:
			return taken(from, to)
		}
		_, err = disturbed(r, old, offered, given)
		return err
	})
}

func taken(from images.Link, to images.Ref) error {
	return fault.Failedf("you have an image %s already", to.Short()).
		WithHint("overwrite it with: image clone --force %s %s", from, to.Short())
}

// source returns the image to clone, or a fault with near misses.
func source(r state.Reader, from images.Ref) (images.Image, error) {
	img, err := images.Get(r, from)
	if !errors.Is(err, state.ErrNotFound) {
		return img, err
	}
	all, err := images.All(r)
	if err != nil {
		return img, err
	}
	var known []string
	for _, i := range all {
		known = append(known, i.Ref.String())
	}
	return img, fault.Unknown("image", []string{from.String()}, known, "see all images with: image show --all")
}

// disturbed returns the nodes that restart when the content of an image becomes
// another, after checking that they can boot that, and that the user agreed.
func disturbed(r state.Reader, old, img images.Image, given consent.Given) ([]Device, error) {
	using, err := booting(r, old.Ref)
	if err != nil {
		return nil, err
	}
	if bad := names(using, func(d Device) bool { return !img.Boots(d.Model) }); len(bad) > 0 {
		return nil, fault.Failedf("%s is booted by %s, and the new content is only for %s; nothing changed",
			old.Ref.Short(), strings.Join(bad, ", "), strings.Join(images.ModelNames(img.Models), ", ")).
			WithHint("clone it under another name, or release those nodes first")
	}
	if old.Digest == img.Digest {
		return nil, nil
	}
	var shown []consent.Contested
	for _, d := range using {
		shown = append(shown, d.shown())
	}
	return using, given.Check(shown)
}

// overwrite has the nodes that boot an image restarted on its new content.
func (c *change) overwrite(old, img images.Image) error {
	using, err := disturbed(c.tx, old, img, c.given)
	if err != nil {
		return err
	}
	for _, d := range using {
		c.result.Changes = append(c.result.Changes, Change{Node: d.Name, Image: img.Ref, Previous: d.Owner(), Reboot: Reboot{Outcome: RebootSkipped}})
		if err := c.move(d, false); err != nil {
			return err
		}
	}
	return nil
}

// Uses counts the nodes that boot each image.
func Uses(all Nodes) map[images.Ref]int {
	uses := map[images.Ref]int{}
	for _, n := range all {
		if n.Kind == Node {
			uses[n.Image]++
		}
	}
	return uses
}

// Images returns every image of the server, ordered by full name.
func (l *Lab) Images(ctx context.Context) (all []images.Image, err error) {
	err = l.Store.View(ctx, func(r state.Reader) (err error) {
		all, err = images.All(r)
		return err
	})
	return all, err
}
