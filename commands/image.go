package commands

import (
	"context"
	"slices"
	"strings"

	"walt/consent"
	"walt/images"
	"walt/nodes"
)

func imageCommands() []Command {
	mine := Arg{Name: "NAME", Complete: completeImage}
	return []Command{{
		Path: "image show", Also: []string{"image list", "image ls"}, Short: "show your images, or all", Topic: "images",
		Long: `Shows your working set. With --all, the images of others and the default ones
follow as links, which "image clone" takes. The first time, while you have no
image, clones of the default images of the nodes here are made for you.`,
		Flags: []Flag{{Name: "all", Short: "a", Usage: "show those of others and the default ones too"}, namesFlag, jsonFlag},
		Run:   imageShow,
	}, {
		Path: "image inspect", Short: "show what an image is made of", Topic: "images",
		Args: []Arg{mine}, Flags: []Flag{jsonFlag},
		Run: imageInspect,
	}, {
		Path: "image search", Short: "look for images in all locations", Topic: "registries",
		Long: `Shows the images for nodes, those with the label walt.node.models, that the
other users of this server, the configured registries and the docker daemon of
the server have; with WORD, only those that have it in their name. Docker Hub
cannot list everything: there the accounts waltplatform, those of the
configuration and, for a WORD like account/name, that account are looked at.`,
		Args: []Arg{{Name: "WORD", Optional: true}}, Flags: []Flag{jsonFlag},
		Run: imageSearch,
	}, {
		Path: "image clone", Also: []string{"image pull"}, Short: "copy an image into your working set", Topic: "images",
		Long: `Copies the image that LINK names into your working set, under the name that it
has there unless NAME is given. Links begin with their location: walt:bob/debian
is an image of bob on this server; the others are docker, hub and the labels of
the configured registries. An image of yours is overwritten only with --force;
the nodes that boot it then reboot, which is asked first.`,
		Args: []Arg{{Name: "LINK", Complete: completeLink}, {Name: "NAME", Optional: true, Complete: completeImage}},
		Flags: []Flag{
			{Name: "force", Short: "f", Usage: "overwrite an image of yours"},
			{Name: "platform", Value: "PLATFORM", Usage: "which of several variants, as in linux/arm/v7"},
			yesFlag, noInputFlag,
		},
		Run: imageClone,
	}, {
		Path: "image load", Also: []string{"image import"}, Short: "bring an image in from your own machine", Topic: "images",
		Long: `Reads an archive of an image from standard input and makes an image of yours of
it, called NAME:

    docker save debian | ssh walt@SERVER image load debian
    podman save debian | ssh walt@SERVER image load debian
    skopeo copy docker://REGISTRY/debian oci-archive:debian.tar
    ssh walt@SERVER image load debian < debian.tar

The archive may be compressed with gzip or zstd. Its label walt.node.models says
which models of nodes it is for. All parts are checked against their digests. An
image of yours is overwritten only with --force; the nodes that boot it then
reboot, which needs --yes: nobody can be asked while standard input is the
archive.`,
		Args: []Arg{{Name: "NAME", Complete: completeImage}},
		Flags: []Flag{
			{Name: "image", Value: "IMAGE", Usage: "which one, of several in the archive"},
			{Name: "force", Short: "f", Usage: "overwrite an image of yours"},
			{Name: "platform", Value: "PLATFORM", Usage: "which of several variants, as in linux/arm64"},
			{Name: "yes", Short: "y", Usage: "reboot the nodes that boot the image"},
		},
		Run: imageLoad,
	}, {
		Path: "image publish", Also: []string{"image push"}, Short: "push an image of yours to a registry", Topic: "registries",
		Long: `Sends the image to a registry, where it gets the same name, and prints its link.
Parts that the registry has already are not sent again. Whoever can log in to
this server publishes with the user name that the registry's configuration has.`,
		Args:  []Arg{mine},
		Flags: []Flag{{Name: "registry", Value: "LABEL", Usage: "which one; else the first of the configuration", Complete: completeRegistry}},
		Run:   imagePublish,
	}, {
		Path: "image duplicate", Also: []string{"image cp", "image copy"}, Short: "copy one of your images under a second name", Topic: "images",
		Args: []Arg{mine, {Name: "NEW"}},
		Run:  imageDuplicate,
	}, {
		Path: "image rename", Also: []string{"image mv"}, Short: "rename an image of yours that no node boots", Topic: "images",
		Long: `What lends its kernel to images that machines boot ("help show booting") does so
under its name: that is asked first.`,
		Args:  []Arg{mine, {Name: "NEW"}},
		Flags: []Flag{yesFlag, noInputFlag},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.seed(ctx); err != nil {
				return err
			}
			terms := c.withdrawal(ctx, "Rename")
			terms.Force = c.justGiven(c.arg(1))
			if err := c.Images.Rename(ctx, c.User, c.arg(0), c.arg(1), terms); err != nil {
				return err
			}
			c.say("%s is now called %s", c.arg(0), c.arg(1))
			return nil
		},
	}, {
		Path: "image remove", Also: []string{"image rm", "image delete"}, Short: "delete an image of yours that no node boots", Topic: "images",
		Long: `Machines that boot another image with the kernel of this one ("help show
booting") cannot boot it again: that is asked first.`,
		Args:  []Arg{mine},
		Flags: []Flag{yesFlag, noInputFlag},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.seed(ctx); err != nil {
				return err
			}
			if err := c.Images.Remove(ctx, c.User, c.arg(0), c.withdrawal(ctx, "Remove")); err != nil {
				return err
			}
			c.say("%s is removed", c.arg(0))
			return nil
		},
	}}
}

// withdrawal are the terms of taking the name of an image away.
func (c *Call) withdrawal(ctx context.Context, verb string) images.Terms {
	return images.Terms{
		Given: consent.Agreement{Whoever: c.on("yes")},
		Ask:   func(contest *consent.Error) error { return c.askConsent(ctx, verb, contest) },
	}
}

// seed sees to it that the user has the first images, and names those that were
// made because it is the first time that they are looked at.
func (c *Call) seed(ctx context.Context) error {
	seeded, err := c.Images.Seed(ctx, c.User)
	c.noteSeeded(seeded)
	return err
}

func (c *Call) noteSeeded(seeded []images.Image) {
	c.first = append(c.first, seeded...)
	if len(seeded) > 0 {
		var made []string
		for _, img := range seeded {
			made = append(made, img.Ref.Short())
		}
		c.note("Your working set was empty: the default images of the nodes here were cloned into it as %s.", strings.Join(made, ", "))
	}
}

// justGiven reports whether an image of the user is there only because this very
// line looked for it: then its name is as good as free.
func (c *Call) justGiven(name string) bool {
	return slices.ContainsFunc(c.first, func(img images.Image) bool {
		ref, err := images.ParseName(c.User, name)
		return err == nil && img.Ref == ref
	})
}

// nameOf is how the user calls an image: its name, or the link to somebody else's.
func (c *Call) nameOf(img images.Image) string {
	if img.Ref.User == c.User {
		return img.Ref.Short()
	}
	return "walt:" + img.Ref.String()
}

// warnUnbootable says why images do not boot machines; of many, where that is told.
func (c *Call) warnUnbootable(all []images.Image, outlooks map[images.Ref]nodes.Outlook) {
	var bad []images.Image
	for _, img := range all {
		if outlooks[img.Ref].Why != "" {
			bad = append(bad, img)
		}
	}
	if len(bad) > 3 {
		c.note("%d of them boot no machine; see why with: image inspect NAME", len(bad))
		return
	}
	for _, img := range bad {
		c.note("%s boots no %s: %s.", c.nameOf(img), kindOf(img, outlooks[img.Ref]), outlooks[img.Ref].Why)
	}
}

// warnUnfit names the images that were made for a platform that some of their
// models cannot run.
func (c *Call) warnUnfit(all []images.Image) {
	for _, img := range all {
		if platform, unfit := c.Library.Unfit(img); len(unfit) > 0 {
			c.note("%s is for %s, which %s cannot run.", c.nameOf(img), platform, strings.Join(images.ModelNames(unfit), ", "))
		}
	}
}

// warnNew says of an image that has just come what keeps nodes from booting it.
func (c *Call) warnNew(ctx context.Context, img images.Image) error {
	one := []images.Image{img}
	c.warnUnfit(one)
	outlooks, _, err := c.Lab.Outlooks(ctx, one)
	c.warnUnbootable(one, outlooks)
	return err
}

// warnUnfitNodes names the nodes whose images are for a platform that they cannot
// run. That is no reason to refuse them: tools that pack files into an image often
// note what they run on themselves.
func (c *Call) warnUnfitNodes(changes []nodes.Change) {
	for _, ch := range changes {
		img := images.Image{Digest: ch.Digest, Models: []images.Model{ch.Model}}
		if platform, unfit := c.Library.Unfit(img); len(unfit) > 0 {
			c.note("%s may not come up: %s is for %s, which %s cannot run.", ch.Node, ch.Image.Short(), platform, ch.Model)
		}
	}
}
