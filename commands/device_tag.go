package commands

import (
	"context"
	"strings"

	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

func deviceTag(ctx context.Context, c *Call) error   { return c.retag(ctx, c.Lab.Tag) }
func deviceUntag(ctx context.Context, c *Call) error { return c.retag(ctx, c.Lab.Untag) }

// retag changes the tags of the devices of the first argument, and tells which they have.
func (c *Call) retag(ctx context.Context, do func(context.Context, auth.Name, nodes.Set, []string) ([]nodes.Device, error)) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var tags []string
	for _, word := range strings.FieldsFunc(strings.Join(c.args[1:], ","), func(r rune) bool { return r == ',' }) {
		tag, err := nodes.ParseTag(word)
		if err != nil {
			return err
		}
		tags = append(tags, tag)
	}
	if len(tags) == 0 {
		return c.withUsage(fault.Usagef("%s: TAG is missing", c.cmd.Path))
	}
	done, err := do(ctx, c.User, set, tags)
	if err != nil {
		return err
	}
	c.sayOfEach(done, func(d nodes.Device, several bool) string {
		has := "has"
		if several {
			has = "have"
		}
		switch len(d.Tags()) {
		case 0:
			return has + " no tags"
		case 1:
			return has + " the tag " + d.Tags()[0]
		}
		return has + " the tags " + strings.Join(d.Tags(), ", ")
	})
	return nil
}

// sayOfEach says a line of each device, of many those of which the same is said together.
func (c *Call) sayOfEach(ds []nodes.Device, what func(d nodes.Device, several bool) string) {
	for len(ds) > 0 {
		var same []string
		first, rest := ds[0], ds[1:]
		ds = nil
		same = append(same, string(first.Name))
		for _, d := range rest {
			if what(d, true) == what(first, true) {
				same = append(same, string(d.Name))
			} else {
				ds = append(ds, d)
			}
		}
		c.say("%s %s", fault.Few(same), what(first, len(same) > 1))
	}
}
