package commands

import (
	"context"
	"fmt"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func imageClone(ctx context.Context, c *Call) error {
	from, err := images.ParseLink(c.arg(0))
	if err != nil {
		return err
	}
	if err := c.Library.HasLocation(from.Location); err != nil {
		return err
	}
	to, err := c.cloneName(from)
	if err != nil {
		return err
	}
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	given, verb, force := consent.Given{Whoever: c.on("yes")}, "Overwrite "+to.Short()+" and reboot", c.on("force")
	var result nodes.Result
	if from.Location == images.Here {
		_, err = c.withFormerConsent(ctx, given, verb, func(given consent.Given) (err error) {
			_, result, err = c.Lab.Clone(ctx, from.Ref, to, force, given)
			return err
		})
	} else {
		result, err = c.cloneFrom(ctx, from, to, force, given, verb)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s is a clone of %s\n", to.Short(), from)
	return c.showRestarted(result.Changes)
}

// cloneName is what the clone of an image is called.
func (c *Call) cloneName(from images.Link) (images.Ref, error) {
	if c.arg(1) != "" {
		return images.ParseName(c.User, c.arg(1))
	}
	to, changed := from.Suggest(c.User)
	if _, err := images.ParseName(c.User, to.Short()); err != nil {
		return to, fault.Usagef("the name of %s cannot be turned into a valid one", from).WithHint("choose one: image clone %s NAME", from)
	}
	if changed {
		c.note("%s is no valid name here: the clone is called %s.", strings.TrimPrefix(from.Ref.String(), string(from.Ref.User)+"/"), to.Short())
	}
	return to, nil
}

// cloneFrom is a clone from another location. What can be in its way is looked
// at before the download too, which may take long.
func (c *Call) cloneFrom(ctx context.Context, from images.Link, to images.Ref, force bool, given consent.Given, verb string) (result nodes.Result, err error) {
	var offered images.Image
	if force {
		if offered, err = c.Library.Look(ctx, from); err != nil {
			return result, err
		}
	}
	given, err = c.withFormerConsent(ctx, given, verb, func(given consent.Given) error {
		return c.Lab.MayReceive(ctx, offered, from, to, force, given)
	})
	if err != nil {
		return result, err
	}
	fetched, err := c.transfer(ctx, from.String(), func(ctx context.Context, report func(images.Progress)) (images.Image, error) {
		return c.Library.FetchLink(ctx, from, report)
	})
	if err != nil {
		return result, err
	}
	if fetched.Variant != "" {
		c.note("%s has variants for several platforms: that for %s was taken.", from, fetched.Variant)
	}
	_, err = c.withFormerConsent(ctx, given, verb, func(given consent.Given) (err error) {
		_, result, err = c.Lab.Receive(ctx, fetched, from, to, force, given)
		return err
	})
	return result, err
}

func imageDuplicate(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	img, err := c.Lab.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	to, err := images.ParseName(c.User, c.arg(1))
	if err != nil {
		return err
	}
	if _, _, err := c.Lab.Clone(ctx, img.Ref, to, false, consent.Given{}); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s has the content of %s\n", to.Short(), img.Ref.Short())
	return nil
}
