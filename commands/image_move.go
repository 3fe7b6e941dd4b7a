package commands

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// imageSearch shows what each location has: on a terminal as it comes, sorted
// otherwise.
func imageSearch(ctx context.Context, c *Call) error {
	var found []images.Found
	asItComes := c.Terminal != nil && !c.on("json")
	add := func(f images.Found) {
		if asItComes {
			if len(found) == 0 {
				c.foundLine(foundHeading)
			}
			c.foundLine(foundCells(f))
		}
		found = append(found, f)
	}
	here, err := c.Lab.Images(ctx)
	if err != nil {
		return err
	}
	for _, img := range here {
		if img.Ref.User != c.User && img.Ref.Matches(c.arg(0)) {
			add(images.Found{Link: images.Link{Location: images.Here, Ref: img.Ref}, Models: img.Models, Size: img.Size, Created: img.Created})
		}
	}
	err = c.Library.Search(ctx, c.arg(0), add, func(location string, err error) {
		c.note("%s was not searched: %v", location, err)
	})
	if err != nil {
		return err
	}
	if c.on("json") {
		slices.SortFunc(found, byLink)
		return c.print(api.NewFoundImages(found))
	}
	if len(found) == 0 {
		c.note("Nothing found. See what is here with: image show --all")
	}
	if asItComes || len(found) == 0 {
		return nil
	}
	slices.SortFunc(found, byLink)
	var cells [][]string
	for _, f := range found {
		cells = append(cells, foundCells(f))
	}
	c.rows(foundHeading, cells)
	return nil
}

var foundHeading = []string{"LINK", "MODELS", "SIZE", "CREATED"}

func foundCells(f images.Found) []string {
	return []string{f.Link.String(), strings.Join(images.ModelNames(f.Models), ","), size(f.Size), f.Created.UTC().Format(time.DateOnly)}
}

// foundLine shows one result before the others are known: the columns have
// widths that most fit in.
func (c *Call) foundLine(cells []string) {
	fmt.Fprintf(c.Out, "%-42s  %-16s  %-9s  %s\n", clean(cells[0]), clean(cells[1]), clean(cells[2]), clean(cells[3]))
}

func byLink(a, b images.Found) int { return cmp.Compare(a.Link.String(), b.Link.String()) }

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
		_, err = c.consentedBefore(ctx, given, verb, func(given consent.Given) (err error) {
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
	given, err = c.consentedBefore(ctx, given, verb, func(given consent.Given) error {
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
	_, err = c.consentedBefore(ctx, given, verb, func(given consent.Given) (err error) {
		_, result, err = c.Lab.Receive(ctx, fetched, from, to, force, given)
		return err
	})
	return result, err
}

// transfer runs a transfer that others see in "advanced jobs" and may cancel.
func (c *Call) transfer(ctx context.Context, what string, do func(context.Context, func(images.Progress)) (images.Image, error)) (images.Image, error) {
	show, end := c.progress(what)
	defer end()
	ctx, note, done := c.Lab.Transfer(ctx, c.User, what)
	defer done()
	img, err := do(ctx, func(p images.Progress) {
		note(p)
		show(p)
	})
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return img, err
}

func imagePublish(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	img, err := c.Lab.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	var link images.Link
	_, err = c.transfer(ctx, "publish "+img.Ref.Short(), func(ctx context.Context, report func(images.Progress)) (_ images.Image, err error) {
		link, err = c.Library.Publish(ctx, img, c.option("registry"), report)
		return img, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Out, link)
	return nil
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

func imageInspect(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	img, err := c.Lab.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	d, err := c.Library.Inspect(img)
	if err != nil {
		return err
	}
	all, err := c.Lab.Images(ctx)
	if err != nil {
		return err
	}
	var shared []images.Image
	for _, other := range all {
		if other.Digest == img.Digest && other.Ref != img.Ref {
			shared = append(shared, other)
		}
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
	platform := d.OS + "/" + d.Architecture
	if img.Variant != "" {
		platform += ", chosen from several"
	}
	rows := [][]string{
		{"name", img.Ref.Short()},
		{"digest", img.Digest},
		{"created", img.Created.UTC().Format("2006-01-02 15:04:05 UTC")},
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
