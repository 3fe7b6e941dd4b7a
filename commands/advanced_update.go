package commands

import (
	"context"
	"fmt"
	"strings"

	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func updateDefaults(ctx context.Context, c *Call) error {
	switch {
	case c.given("put-back") && c.on("dry-run"):
		return c.withUsage(fault.Usagef("advanced update-default-images: --dry-run and --put-back do not go together"))
	case c.given("put-back"):
		back, restarts, err := c.Images.PutBack(ctx, c.User, c.option("put-back"))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s is again the version created %s; the other is kept\n", back.Ref.Short(), minute(back.Created))
		return c.showRestarted(restarts)
	}
	var failed []string
	var restarted []images.Restart
	none := true
	err := c.Images.UpdateDefaults(ctx, c.User, c.on("dry-run"), func(u images.Update) {
		none = false
		fmt.Fprintf(c.Out, "%s: %s\n", u.Image.Ref.Short(), c.outcome(u))
		for _, o := range u.Offers {
			fmt.Fprintf(c.Out, "  %s: %s\n", o.Location, c.offered(o, u.Image))
		}
		if u.Err != nil {
			failed = append(failed, u.Image.Ref.Short())
		}
		restarted = append(restarted, u.Restarts...)
	})
	if err != nil {
		return err
	}
	if none {
		c.note("There are no default images yet: they come with the first nodes (see: help show images).")
	}
	if len(failed) > 0 {
		return fault.Failedf("not updated: %s", strings.Join(failed, ", "))
	}
	return c.showRestarted(restarted)
}

// offered says what a location has of a default image.
func (c *Call) offered(o images.Offer, present images.Image) string {
	switch f := fault.As(o.Err); {
	case f != nil:
		return clean(f.Msg)
	case o.Err != nil:
		c.Log.Error("look for a default image", "image", present.Ref, "location", o.Location, "err", o.Err)
		return "the server failed to look there"
	case o.Digest == present.Digest:
		return "the present one"
	}
	return "created " + minute(o.Created) + ", " + shortDigest(o.Digest)
}

// outcome says what became of one default image.
func (c *Call) outcome(u images.Update) string {
	if u.Newest == nil {
		return "nothing newer than the present one, created " + minute(u.Image.Created)
	}
	switch f := fault.As(u.Err); {
	case f != nil:
		return "newer in " + u.Newest.Location + ", but " + clean(f.Msg)
	case u.Err != nil:
		c.Log.Error("update a default image", "image", u.Image.Ref, "err", u.Err)
		return "newer in " + u.Newest.Location + ", but the server failed to take it"
	case c.on("dry-run"):
		return "newer in " + u.Newest.Location + ": it would be taken"
	}
	return "updated from " + u.Newest.Location + "; the one before is kept as " + u.Kept.Short()
}

// showRestarted tells which nodes were restarted because their image changed.
func (c *Call) showRestarted(restarts []images.Restart) error {
	var changes []nodes.Change
	for _, r := range restarts {
		ch := nodes.Change{Node: nodes.Name(r.Node), Image: r.Image, Reboot: nodes.Reboot{Outcome: nodes.RebootOutcome(r.Outcome), Reason: r.Reason}}
		changes = append(changes, ch)
		fmt.Fprintf(c.Out, "%s %s\n", ch.Node, describeChange(ch))
	}
	return failedReboots(changes)
}
