package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func updateDefaults(ctx context.Context, c *Call) error {
	terms := images.Terms{
		Given: consent.Given{Whoever: c.on("yes")},
		Ask:   func(contest *consent.Error) error { return c.askVisited(ctx, contest) },
	}
	switch {
	case c.given("put-back") && c.on("dry-run"):
		return c.withUsage(fault.Usagef("advanced update-default-images: --dry-run and --put-back do not go together"))
	case c.given("put-back"):
		back, restarts, err := c.Images.PutBack(ctx, c.User, c.option("put-back"), terms)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s is again the version created %s; the other is kept\n", back.Ref.Short(), minute(back.Created))
		return c.showRestarted(restarts)
	}
	var failed, unasked []string
	kind := fault.InUse // unless something else went wrong
	var restarted []images.Restart
	none := true
	err := c.Images.UpdateDefaults(ctx, c.User, c.on("dry-run"), terms, func(u images.Update) {
		none = false
		fmt.Fprintf(c.Out, "%s: %s\n", u.Image.Ref.Short(), c.outcome(u))
		for _, o := range u.Offers {
			fmt.Fprintf(c.Out, "  %s: %s\n", o.Location, c.offered(o, u.Image))
		}
		if u.Newest == nil && len(u.Offers) > 0 && !slices.ContainsFunc(u.Offers, asked) {
			for _, o := range u.Offers {
				unasked = append(unasked, o.Location)
			}
		}
		if f := fault.As(u.Err); u.Err != nil && (f == nil || f.Kind != fault.InUse) {
			kind = fault.Failed
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
		return errors.Join(fault.New(kind, "not updated: %s", strings.Join(failed, ", ")), c.showRestarted(restarted))
	}
	if len(unasked) > 0 {
		slices.Sort(unasked)
		down := fault.Failedf("could not ask for newer images: %s", strings.Join(slices.Compact(unasked), ", ")).WithHint("try again when they can be reached")
		return errors.Join(down, c.showRestarted(restarted))
	}
	return c.showRestarted(restarted)
}

func asked(o images.Offer) bool { return o.Asked }

// askVisited asks whether to reboot free nodes on which users have sessions.
func (c *Call) askVisited(ctx context.Context, contest *consent.Error) error {
	var names []string
	for _, n := range contest.Nodes {
		c.note("%s is free, and %s has a session on it.", n.Node, n.Owner)
		names = append(names, n.Node)
	}
	return c.ask(ctx, "Reboot "+strings.Join(slices.Compact(names), ", ")+" anyway?")
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
	switch {
	case u.Newest == nil && len(u.Offers) > 0 && !slices.ContainsFunc(u.Offers, asked):
		return "no location could be asked; the present one was created " + minute(u.Image.Created)
	case u.Newest == nil && u.Skipped != nil:
		return "nothing newer than the one created " + minute(u.Skipped.Created) + ", which was put back: the present one stays"
	case u.Newest == nil:
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
