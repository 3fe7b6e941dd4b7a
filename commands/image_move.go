package commands

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// foundRow is an image that a search found, as programs see it.
type foundRow struct {
	Link    string         `json:"link"`
	Models  []images.Model `json:"models"`
	Size    int64          `json:"size"`
	Created time.Time      `json:"created"`
}

func (r foundRow) cells() []string {
	return []string{r.Link, strings.Join(images.ModelNames(r.Models), ","), size(r.Size), r.Created.UTC().Format(time.DateOnly)}
}

// imageSearch shows what each location has: on a terminal as it comes, sorted
// otherwise.
func imageSearch(ctx context.Context, c *Call) error {
	rows := []foundRow{}
	asItComes := c.Terminal != nil && !c.on("json")
	add := func(r foundRow) {
		if asItComes {
			if len(rows) == 0 {
				c.foundLine(foundHeading)
			}
			c.foundLine(r.cells())
		}
		rows = append(rows, r)
	}
	here, err := c.Lab.Images(ctx)
	if err != nil {
		return err
	}
	for _, img := range here {
		if img.Ref.User != c.User && img.Ref.Matches(c.arg(0)) {
			add(foundRow{images.Link{Location: images.Here, Ref: img.Ref}.String(), img.Models, img.Size, img.Created})
		}
	}
	err = c.Library.Search(ctx, c.arg(0), func(f images.Found) {
		add(foundRow{f.Link.String(), f.Models, f.Size, f.Created})
	}, func(location string, err error) {
		c.note("%s was not searched: %v", location, err)
	})
	if err != nil {
		return err
	}
	if c.on("json") {
		slices.SortFunc(rows, byLink)
		return c.print(map[string]any{"images": rows})
	}
	if len(rows) == 0 {
		c.note("Nothing found. See what is here with: image show --all")
	}
	if asItComes || len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, byLink)
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, r.cells())
	}
	c.rows(foundHeading, cells)
	return nil
}

var foundHeading = []string{"LINK", "MODELS", "SIZE", "CREATED"}

// foundLine shows one result before the others are known: the columns have
// widths that most fit in.
func (c *Call) foundLine(cells []string) {
	fmt.Fprintf(c.Out, "%-42s  %-16s  %-9s  %s\n", clean(cells[0]), clean(cells[1]), clean(cells[2]), clean(cells[3]))
}

func byLink(a, b foundRow) int { return cmp.Compare(a.Link, b.Link) }

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

// detail is what an image is made of, as programs see it.
type detail struct {
	imageRow
	Architecture string            `json:"architecture"`
	OS           string            `json:"os"`
	Layers       []images.Layer    `json:"layers"`
	Labels       map[string]string `json:"labels"`
	History      []string          `json:"history"`
	SharedWith   []images.Ref      `json:"shared_with"`
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
	refs := []images.Ref{}
	for _, other := range all {
		if other.Digest == img.Digest && other.Ref != img.Ref {
			shared, refs = append(shared, other), append(refs, other.Ref)
		}
	}
	mine, err := c.Lab.Mine(ctx, c.User)
	if err != nil {
		return err
	}
	inUse := nodes.Uses(mine)[img.Ref] > 0
	if c.on("json") {
		return c.print(detail{newImageRow(img, inUse), d.Architecture, d.OS, d.Layers, d.Labels, d.History, refs})
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
