package commands

import (
	"context"
	"fmt"
	"strings"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func imageCommands() []Command {
	return []Command{{
		Path: "image show", Short: "show your images, or all", Topic: "images",
		Long: `Shows your working set. With --all, the images of others and the default ones
follow as links, which "image clone" takes. The first time, while you have no
image, clones of the default images of the nodes here are made for you.`,
		Flags: []Flag{allFlag, namesFlag, jsonFlag},
		Run:   imageShow,
	}, {
		Path: "image clone", Short: "copy an image into your working set", Topic: "images",
		Long: `Copies the image that LINK names into your working set, under the name that it
has there unless NAME is given. Links begin with their location: walt:bob/debian
is an image of bob on this server. An image of yours is overwritten only with
--force; the nodes that boot it then reboot, which is asked first.`,
		Args:  []Arg{{Name: "LINK", Complete: completeLink}, {Name: "NAME", Optional: true, Complete: completeImage}},
		Flags: []Flag{{Name: "force", Short: "f", Usage: "overwrite an image of yours"}, yesFlag, noInputFlag},
		Run:   imageClone,
	}}
}

// imageRow is an image as programs see it.
type imageRow struct {
	FullName images.Ref `json:"fullname"`
	User     auth.Name  `json:"user"`
	Name     string     `json:"name"`
	Models   []string   `json:"models"`
	InUse    bool       `json:"in_use"`
	Created  time.Time  `json:"created"`
	Digest   string     `json:"digest"`
	Size     int64      `json:"size"`
}

// workingSet returns the user's images, and names those that were made because
// it is the first time that they are looked at.
func (c *Call) workingSet(ctx context.Context) ([]images.Image, error) {
	mine, seeded, err := c.Lab.WorkingSet(ctx, c.User)
	if len(seeded) > 0 {
		var made []string
		for _, img := range seeded {
			made = append(made, img.Ref.Short())
		}
		c.note("Your working set was empty: the default images of the nodes here were cloned into it as %s.", strings.Join(made, ", "))
	}
	return mine, err
}

func imageShow(ctx context.Context, c *Call) error {
	mine, err := c.workingSet(ctx)
	if err != nil {
		return err
	}
	shown := mine
	if c.on("all") {
		all, err := c.Lab.Images(ctx)
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
		rows := []imageRow{}
		for _, img := range shown {
			rows = append(rows, imageRow{img.Ref, img.Ref.User, img.Ref.Name + ":" + img.Ref.Tag, img.Models, uses[img.Ref] > 0, img.Created, img.Digest, img.Size})
		}
		return c.print(map[string]any{"images": rows})
	}
	if len(shown) == 0 {
		c.note("You have no images, and there are no default ones yet: they come with the first nodes (see: help show images).")
		return nil
	}
	var rows [][]string
	for _, img := range shown {
		inUse := "-"
		if n := uses[img.Ref]; n > 0 {
			inUse = fmt.Sprintf("%d nodes", n)
			if n == 1 {
				inUse = "1 node"
			}
		}
		rows = append(rows, []string{c.nameOf(img), inUse, img.Created.UTC().Format(time.DateOnly), strings.Join(img.Models, ",")})
	}
	c.rows([]string{"NAME", "IN USE", "CREATED", "MODELS"}, rows)
	return nil
}

// nameOf is how the user calls an image: its name, or the link to somebody else's.
func (c *Call) nameOf(img images.Image) string {
	if img.Ref.User == c.User {
		return img.Ref.Short()
	}
	return "walt:" + img.Ref.String()
}

func imageClone(ctx context.Context, c *Call) error {
	from, err := images.ParseLink(c.arg(0))
	if err != nil {
		return err
	}
	if from.Location != images.Here {
		return fault.Failedf("this server clones only from %s: links yet, not from %q", images.Here, from.Location).
			WithHint("see what is here with: image show --all")
	}
	name := from.Ref.Short()
	if c.arg(1) != "" {
		name = c.arg(1)
	}
	to, err := images.ParseName(c.User, name)
	if err != nil {
		return err
	}
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	var result nodes.Result
	err = c.consented(ctx, "Overwrite "+to.Short()+" and reboot", func(consent nodes.Consent) error {
		_, result, err = c.Lab.Clone(ctx, from.Ref, to, c.on("force"), consent)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s is a clone of %s\n", to.Short(), from)
	for _, ch := range result.Changes {
		fmt.Fprintf(c.Out, "%s %s\n", ch.Node, became(ch))
	}
	return failedReboots(result.Changes)
}
