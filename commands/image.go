package commands

import (
	"context"
	"fmt"
	"strings"

	"walt/images"
)

func imageCommands() []Command {
	mine := Arg{Name: "NAME", Complete: completeImage}
	return []Command{{
		Path: "image show", Short: "show your images, or all", Topic: "images",
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
		Path: "image clone", Short: "copy an image into your working set", Topic: "images",
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
		Path: "image publish", Short: "push an image of yours to a registry", Topic: "registries",
		Long: `Sends the image to a registry, where it gets the same name, and prints its link.
Parts that the registry has already are not sent again. Whoever can log in to
this server publishes with the user name that the registry's configuration has.`,
		Args:  []Arg{mine},
		Flags: []Flag{{Name: "registry", Value: "LABEL", Usage: "which one; else the first of the configuration", Complete: completeRegistry}},
		Run:   imagePublish,
	}, {
		Path: "image duplicate", Short: "copy one of your images under a second name", Topic: "images",
		Args: []Arg{mine, {Name: "NEW"}},
		Run:  imageDuplicate,
	}, {
		Path: "image rename", Short: "rename an image of yours that no node boots", Topic: "images",
		Args: []Arg{mine, {Name: "NEW"}},
		Run: func(ctx context.Context, c *Call) error {
			if _, err := c.workingSet(ctx); err != nil {
				return err
			}
			if err := c.Images.Rename(ctx, c.User, c.arg(0), c.arg(1)); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "%s is now called %s\n", c.arg(0), c.arg(1))
			return nil
		},
	}, {
		Path: "image remove", Short: "delete an image of yours that no node boots", Topic: "images",
		Args: []Arg{mine},
		Run: func(ctx context.Context, c *Call) error {
			if _, err := c.workingSet(ctx); err != nil {
				return err
			}
			if err := c.Images.Remove(ctx, c.User, c.arg(0)); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "%s is removed\n", c.arg(0))
			return nil
		},
	}}
}

// workingSet returns the user's images, and names those that were made because
// it is the first time that they are looked at.
func (c *Call) workingSet(ctx context.Context) ([]images.Image, error) {
	mine, seeded, err := c.Images.WorkingSet(ctx, c.User)
	if len(seeded) > 0 {
		var made []string
		for _, img := range seeded {
			made = append(made, img.Ref.Short())
		}
		c.note("Your working set was empty: the default images of the nodes here were cloned into it as %s.", strings.Join(made, ", "))
	}
	return mine, err
}

// nameOf is how the user calls an image: its name, or the link to somebody else's.
func (c *Call) nameOf(img images.Image) string {
	if img.Ref.User == c.User {
		return img.Ref.Short()
	}
	return "walt:" + img.Ref.String()
}
