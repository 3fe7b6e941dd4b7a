package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/api"
	"walt/images"
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
	err := c.Images.Search(ctx, c.User, c.arg(0), add, func(location string, err error) {
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
	return []string{f.Link.String(), strings.Join(images.ModelNames(f.Models), ","), size(f.Size), day(f.Created)}
}

// foundLine shows one result before the others are known: the columns have
// widths that most fit in.
func (c *Call) foundLine(cells []string) {
	fmt.Fprintf(c.Out, "%-42s  %-16s  %-9s  %s\n", clean(cells[0]), clean(cells[1]), clean(cells[2]), clean(cells[3]))
}

func byLink(a, b images.Found) int { return cmp.Compare(a.Link.String(), b.Link.String()) }
