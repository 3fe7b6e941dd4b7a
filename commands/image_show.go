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
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

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
		if missing, err = c.Lab.Firmware(ctx, img, o.Model); err != nil {
			return err
		}
	}
	if c.on("json") {
		return c.print(api.NewImageDetail(img, inUse, d, shared, outlooks, missing))
	}
	var booted [][2]string
	if known {
		booted = describeBoot(img, o, missing)
	}
	c.describeImage(img, d, shared, booted)
	return nil
}

// describeBoot tells what comes of booting an image on a machine.
func describeBoot(img images.Image, o nodes.Outlook, missing []nodes.Firmware) (rows [][2]string) {
	switch {
	case o.Why != "":
		return [][2]string{{"boots", "no " + kindOf(img, o) + ": " + o.Why}}
	case o.Lender.IsZero():
		rows = [][2]string{{"boots", "machines, with its kernel " + o.Kernel}}
	default:
		rows = [][2]string{{"boots", "machines, with the kernel " + o.Kernel + " of walt:" + o.Lender.String()}}
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
		rows = append(rows, [2]string{"no firmware", driver + ": " + fault.Few(files[driver])})
	}
	return rows
}

// kindOf names the machines that an outlook is about: their model, when the image is for
// others, too.
func kindOf(img images.Image, o nodes.Outlook) string {
	if len(img.Models) > 1 {
		return string(o.Model)
	}
	return "machine"
}

func (c *Call) describeImage(img images.Image, d images.Detail, shared []images.Image, booted [][2]string) {
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
	rows := [][2]string{
		{"name", img.Ref.Short()},
		{"digest", img.Digest},
		{"created", created},
		{"models", strings.Join(images.ModelNames(img.Models), ", ")},
		{"platform", platform},
		{"size", size(img.Size)},
	}
	rows = append(rows, booted...)
	for _, other := range shared {
		rows = append(rows, [2]string{"shared with", c.nameOf(other)})
	}
	for _, l := range d.Layers {
		rows = append(rows, [2]string{"layer", shortDigest(l.Digest) + "  " + size(l.Size)})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		rows = append(rows, [2]string{"label", name + "=" + d.Labels[name]})
	}
	for _, step := range d.History {
		rows = append(rows, [2]string{"history", step})
	}
	c.lines(func(w io.Writer) { c.facts(w, rows) })
}
