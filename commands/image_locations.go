package commands

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/api"
	"walt/consent"
	"walt/fault"
	"walt/images"
)

func imageClone(ctx context.Context, c *Call) error {
	from, err := images.ParseLink(c.arg(0))
	if err != nil {
		return err
	}
	platform, err := c.platform()
	if err != nil {
		return err
	}
	to, changed, err := c.Images.CloneName(from, c.User, c.arg(1))
	if err != nil {
		return err
	}
	if err := c.seed(ctx); err != nil {
		return err
	}
	if from.Location == images.Here && from.Ref == to {
		if _, err := c.Images.Own(ctx, c.User, to.Short()); err != nil {
			return err
		}
		return fault.Failedf("%s is your image %s already; nothing changed", from, to.Short()).
			WithHint("copy it under a second name with: image duplicate %s NEW", to.Short())
	}
	if changed {
		c.note("%s is no valid name here: the clone is called %s.", strings.TrimPrefix(from.Ref.String(), string(from.Ref.User)+"/"), to.Short())
	}
	report, end := c.progress(from.String())
	cloned, err := c.Images.CloneFrom(ctx, from, to, images.Terms{
		Force: c.on("force") || c.justGiven(to.Short()),
		Given: consent.Agreement{Whoever: c.on("yes")},
		Ask: func(contest *consent.Error) error {
			end()
			return c.askConsent(ctx, "Overwrite "+to.Short()+" and reboot", contest)
		},
		Report:   report,
		Platform: platform,
	})
	end()
	if err != nil {
		return err
	}
	if v := cloned.Image.Variant; v != "" && from.Location != images.Here {
		c.note("%s has variants for several platforms: that for %s was taken.", from, v)
	}
	c.say("%s is a clone of %s", to.Short(), from)
	return errors.Join(c.warnNew(ctx, cloned.Image), c.showRestarted(cloned.Restarts))
}

// platform is what the option of that name says, "" when it was not given.
func (c *Call) platform() (string, error) {
	platform, valid := images.ParsePlatform(c.option("platform"))
	if c.given("platform") && !valid {
		return "", c.withUsage(fault.Usagef("%q is not a platform", c.option("platform")).WithHint("a platform is as in linux/arm/v7, linux/arm64 or linux/amd64"))
	}
	return platform, nil
}

func imageDuplicate(ctx context.Context, c *Call) error {
	if err := c.seed(ctx); err != nil {
		return err
	}
	from, to, err := c.Images.Duplicate(ctx, c.User, c.arg(0), c.arg(1), c.justGiven(c.arg(1)))
	if err != nil {
		return err
	}
	c.say("%s has the content of %s", to.Ref.Short(), from.Ref.Short())
	return nil
}

func imagePublish(ctx context.Context, c *Call) error {
	if err := c.seed(ctx); err != nil {
		return err
	}
	img, err := c.Images.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	report, end := c.progress("publish " + img.Ref.Short())
	link, err := c.Images.Publish(ctx, img, c.option("registry"), report)
	end()
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Out, link)
	return nil
}

// imageSearch shows what each location has: on a terminal as it comes, sorted
// otherwise.
func imageSearch(ctx context.Context, c *Call) error {
	var found []images.Match
	asItComes := c.Terminal != nil && !c.on("json")
	out, rows := bufio.NewWriter(c.Out), table{width: c.width(), widths: foundWidths}
	wholly := map[string]string{} // "wholly " for the locations that showed something
	add := func(f images.Match) {
		wholly[f.Link.Location] = "wholly "
		if asItComes {
			if len(found) == 0 {
				rows.head(out, c.fancy(), foundHeading)
			}
			rows.write(out, foundCells(f))
			out.Flush()
		}
		found = append(found, f)
	}
	err := c.Images.Search(ctx, c.User, c.arg(0), add, func(location string, err error) {
		c.note("%s was not %ssearched: %v", location, wholly[location], err)
	}, func(note string) { c.note("%s", note) })
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

var (
	foundHeading = []string{"LINK", "MODELS", "SIZE", "CREATED"}
	foundWidths  = []int{38, 16, 9, 10} // that most fit in, where the others are not known; a row of 79 cells
)

func foundCells(f images.Match) []string {
	return []string{f.Link.String(), strings.Join(images.ModelNames(f.Models), ","), size(f.Size), day(f.Created)}
}

func byLink(a, b images.Match) int { return cmp.Compare(a.Link.String(), b.Link.String()) }
