package commands

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"walt/api"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func imageShow(ctx context.Context, c *Call) error {
	mine, err := c.workingSet(ctx)
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
		for _, img := range shown {
			fmt.Fprintln(c.Out, c.nameOf(img))
		}
		return nil
	}
	all, err := c.Lab.All(ctx)
	if err != nil {
		return err
	}
	uses := nodes.Uses(all)
	if c.on("json") {
		return c.print(api.NewImages(shown, uses))
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
		rows = append(rows, []string{c.nameOf(img), inUse, day(img.Created), strings.Join(images.ModelNames(img.Models), ",")})
	}
	c.rows([]string{"NAME", "IN USE", "CREATED", "MODELS"}, rows)
	return c.showTransfers(ctx)
}

func imageInspect(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
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
	mine, err := c.Lab.Mine(ctx, c.User)
	if err != nil {
		return err
	}
	inUse := nodes.Uses(mine)[img.Ref] > 0
	if c.on("json") {
		return c.print(api.NewImageDetail(img, inUse, d, shared))
	}
	c.describeImage(img, d, shared)
	return nil
}

func (c *Call) describeImage(img images.Image, d images.Detail, shared []images.Image) {
	platform := d.Platform
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
