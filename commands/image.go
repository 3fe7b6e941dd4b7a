package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"walt/api"
	"walt/consent"
	"walt/fault"
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

func imageShow(ctx context.Context, c *Call) error {
	mine, seeded, err := c.Images.WorkingSet(ctx, c.User)
	c.noteSeeded(seeded)
	if f := fault.As(err); f != nil { // looking is possible all the same
		c.note("You have no images yet, and the first ones cannot be made: %s.", f.Msg)
		err = nil
	}
	if err != nil {
		return err
	}
	shown := mine
	if c.on("all") {
		all, err := c.Images.All(ctx)
		if err != nil {
			return err
		}
		for _, img := range all {
			if img.Ref.User != c.User {
				shown = append(shown, img)
			}
		}
	}
	if c.on("names-only") {
		c.lines(func(w io.Writer) {
			for _, img := range shown {
				fmt.Fprintln(w, c.nameOf(img))
			}
		})
		return nil
	}
	uses, err := c.Lab.Uses(ctx, "")
	if err != nil {
		return err
	}
	outlooks, machines, err := c.Lab.Outlooks(ctx, shown)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewImages(shown, uses, func(img images.Image) []images.Model {
			_, unfit := c.Library.Unfit(img)
			return unfit
		}, outlooks))
	}
	if len(shown) == 0 {
		c.note("You have no images, and there are no default ones yet: they come with the first nodes (see: help show images).")
		return c.showTransfers(ctx)
	}
	var rows [][]string
	for _, img := range shown {
		inUse := "-"
		if n := uses[img.Ref]; n > 0 {
			inUse = count(n, "node")
		}
		row := []string{c.nameOf(img), inUse, day(img.Created), strings.Join(images.ModelNames(img.Models), ",")}
		if machines {
			row = slices.Insert(row, 3, bootsMachines(outlooks, img))
		}
		rows = append(rows, row)
	}
	header := []string{"NAME", "IN USE", "CREATED", "MODELS"}
	if machines {
		header = slices.Insert(header, 3, "BOOTS")
	}
	c.rows(header, rows)
	c.warnUnfit(shown)
	c.warnUnbootable(shown, outlooks)
	return c.showTransfers(ctx)
}

// bootsMachines is whether an image boots machines of this server, in a word.
func bootsMachines(outlooks map[images.Ref]nodes.Outlook, img images.Image) string {
	o, known := outlooks[img.Ref]
	switch {
	case !known:
		return "-"
	case o.Why != "":
		return "no"
	}
	return "yes"
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
		c.note("%s boots no machine: %s.", c.nameOf(img), outlooks[img.Ref].Why)
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

func imageInspect(ctx context.Context, c *Call) error {
	if err := c.seed(ctx); err != nil {
		return err
	}
	img, err := c.Images.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	d, err := c.Library.Inspect(img)
	if err != nil {
		return err
	}
	shared, err := c.Images.Sharing(ctx, img)
	if err != nil {
		return err
	}
	uses, err := c.Lab.Uses(ctx, c.User)
	if err != nil {
		return err
	}
	inUse := uses[img.Ref] > 0
	outlooks, _, err := c.Lab.Outlooks(ctx, []images.Image{img})
	if err != nil {
		return err
	}
	o, known := outlooks[img.Ref]
	var missing []nodes.Firmware
	if known && o.Why == "" {
		if missing, err = c.Lab.Firmware(ctx, img); err != nil {
			return err
		}
	}
	if c.on("json") {
		return c.print(api.NewImageDetail(img, inUse, d, shared, outlooks, missing))
	}
	var booted [][]string
	if known {
		booted = describeBoot(o, missing)
	}
	c.describeImage(img, d, shared, booted)
	return nil
}

// describeBoot tells what comes of booting an image on a machine.
func describeBoot(o nodes.Outlook, missing []nodes.Firmware) (rows [][]string) {
	switch {
	case o.Why != "":
		return [][]string{{"boots", "no machine: " + o.Why}}
	case o.Lender.IsZero():
		rows = [][]string{{"boots", "machines, with its kernel " + o.Kernel}}
	default:
		rows = [][]string{{"boots", "machines, with the kernel " + o.Kernel + " of walt:" + o.Lender.String()}}
	}
	var drivers []string
	files := map[string][]string{}
	for _, f := range missing {
		if files[f.Driver] == nil {
			drivers = append(drivers, f.Driver)
		}
		files[f.Driver] = append(files[f.Driver], f.File)
	}
	for _, driver := range drivers {
		rows = append(rows, []string{"no firmware", driver + ": " + fault.Few(files[driver])})
	}
	return rows
}

func (c *Call) describeImage(img images.Image, d images.Detail, shared []images.Image, booted [][]string) {
	platform := cmp.Or(d.Platform, "-")
	if len(d.Unfit) > 0 {
		platform += ", which " + strings.Join(images.ModelNames(d.Unfit), ", ") + " cannot run: clone it again"
	}
	if img.Variant != "" {
		platform += ", chosen from several"
	}
	created := "-"
	if !undated(img.Created) {
		created = img.Created.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	rows := [][]string{
		{"name", img.Ref.Short()},
		{"digest", img.Digest},
		{"created", created},
		{"models", strings.Join(images.ModelNames(img.Models), ", ")},
		{"platform", platform},
		{"size", size(img.Size)},
	}
	rows = append(rows, booted...)
	for _, other := range shared {
		rows = append(rows, []string{"shared with", c.nameOf(other)})
	}
	for _, l := range d.Layers {
		rows = append(rows, []string{"layer", shortDigest(l.Digest) + "  " + size(l.Size)})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		rows = append(rows, []string{"label", name + "=" + d.Labels[name]})
	}
	for _, step := range d.History {
		rows = append(rows, []string{"history", step})
	}
	c.rows(nil, rows)
}
