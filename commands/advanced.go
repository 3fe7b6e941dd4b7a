package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func advancedCommands() []Command {
	job := Arg{Name: "ID", Complete: completeJob}
	return []Command{{
		Path: "advanced update-default-images", Short: "replace default images by newer ones", Topic: "images",
		Long: `Looks in every registry and in the docker daemon for a version of each default
image with a newer creation date, takes the newest, and reboots the free nodes
that boot it: first one that has been up before. If that is not up within its
boot.timeout, or you stop the command, the present version stays and that node
boots it again; what failed there is not taken again until there is something
newer. Nodes that somebody owns, and clones, are left alone. The replaced
version is kept under the date of today as its tag until the next update, and
--put-back makes it the present one again; the other is not taken again until
there is something newer. --retry takes what failed, or was put back, all the
same: it is tried on one node again, on another when somebody acquired that one.
When somebody has a session on one of the nodes that would reboot, that is asked
first.`,
		Flags: []Flag{
			{Name: "dry-run", Usage: "only say what would be done"},
			{Name: "put-back", Value: "NAME", Usage: "undo the last update of one default image", Complete: completeReplaced},
			{Name: "retry", Usage: "try again what failed, or was put back"},
			yesFlag, noInputFlag,
		},
		Run: updateDefaults,
	}, {
		Path: "advanced set-default-image", Short: "make an image of yours the default one of its models", Topic: "images",
		Long: `Only administrators: the image becomes the default image of all models that it
lists. Devices that wait for one become free nodes. Where a model has a default
image, that is replaced as "advanced update-default-images" does it: one free
node boots the new one before the others, and the one before can be put back.
One that the virtual machines of a model could not boot is refused. Your image,
and the nodes of users, are left alone.`,
		Args:  []Arg{{Name: "NAME", Complete: completeImage}},
		Flags: []Flag{yesFlag, noInputFlag},
		Run:   setDefault,
	}, {
		Path: "advanced jobs", Short: "show the transfers of images that run or wait", Topic: "registries",
		Flags: []Flag{jsonFlag},
		Run:   showJobs,
	}, {
		Path: "advanced jobs retry", Short: "try the download of a default image now", Topic: "registries",
		Args: []Arg{job},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.Images.RetryJob(ctx, c.User, c.arg(0)); err != nil {
				return err
			}
			c.say("%s is tried now", c.arg(0))
			return nil
		},
	}, {
		Path: "advanced jobs cancel", Short: "stop a transfer", Topic: "registries",
		Long: `Stops what a user waits for: one's own, or as an administrator anybody's. Others
who wait for the same content go on. The download of a default image, which is
for nodes and not for a user, stays stopped until it is retried.`,
		Args: []Arg{job},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.Images.CancelJob(ctx, c.User, c.arg(0)); err != nil {
				return err
			}
			c.say("%s is stopped", c.arg(0))
			return nil
		},
	}, {
		Path: "advanced gc", Short: "free the content that no image refers to any more",
		Long: `The server does that by itself every hour. What was brought or used within the
last hour stays, since somebody may be about to need it.`,
		Flags: []Flag{{Name: "dry-run", Usage: "only say what would be freed"}},
		Run: func(ctx context.Context, c *Call) error {
			freed, err := c.Library.Collect(ctx, c.on("dry-run"))
			if err != nil {
				return err
			}
			would := ""
			if c.on("dry-run") {
				would = "would be "
			}
			c.say("%s in %s %sfreed", size(freed.Bytes), count(freed.Blobs, "file"), would)
			return nil
		},
	}, {
		Path: "advanced backup", Short: "write a copy of all data to standard output", Topic: "admin",
		Long: `Only administrators: umask 077; ssh walt@SERVER advanced backup > FILE. It holds
the server's private keys: let nobody else read it. The server goes on
meanwhile. "waltd restore FILE" makes a data directory of it.`,
		Run: func(ctx context.Context, c *Call) error {
			switch {
			case !c.Admin:
				return fault.Failedf("only administrators make backups").WithHint("see who is one with: user show")
			case c.Terminal != nil:
				return fault.Usagef("a backup is not for a terminal").WithHint("write it to a file: ssh walt@SERVER advanced backup > FILE")
			}
			what, err := c.Backup(ctx, c.Out)
			if err == nil {
				c.note("That was %s. It holds private keys: let nobody else read it (umask 077).", what)
			}
			return err
		},
	}}
}

func showJobs(ctx context.Context, c *Call) error {
	all, err := c.Images.Jobs(ctx)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewJobs(all))
	}
	if len(all) == 0 {
		c.note("Nothing is being transferred, and nothing waits for it.")
		return nil
	}
	var rows, errs [][]string
	for _, j := range all {
		rows = append(rows, []string{j.ID, j.What, cmp.Or(string(j.User), "(nodes)"), c.progressOf(j)})
		if j.Error != "" {
			errs = append(errs, []string{j.ID, j.Error})
		}
	}
	c.rows([]string{"ID", "WHAT", "FOR", "STATE"}, rows)
	if len(errs) > 0 {
		fmt.Fprintln(c.Out)
		c.rows([]string{"ID", "LAST ERROR"}, errs)
	}
	return nil
}

// progressOf says how a transfer goes.
func (c *Call) progressOf(j images.Job) string {
	failed := ""
	if j.Tries > 0 && !j.Running {
		failed = "failed " + count(j.Tries, "time") + ", "
	}
	return failed + c.nextOf(j)
}

func (c *Call) nextOf(j images.Job) string {
	switch {
	case j.Running && j.Total > 0:
		return fmt.Sprintf("%d %% of %s", j.Done*100/j.Total, size(j.Total))
	case j.Running:
		return "running"
	case j.Stopped:
		return "stopped until: advanced jobs retry " + j.ID
	}
	wait := j.Next.Sub(c.Now())
	if wait <= 0 {
		return "about to begin"
	}
	return "next try in " + (wait.Truncate(time.Second) + time.Second).String()
}

// showTransfers notes the transfers of the user, and the downloads of default
// images.
func (c *Call) showTransfers(ctx context.Context) error {
	all, err := c.Images.Jobs(ctx)
	for _, j := range all {
		if j.User == "" || j.User == c.User {
			c.note("%s: %s (see: advanced jobs)", j.What, c.progressOf(j))
		}
	}
	return err
}

func updateDefaults(ctx context.Context, c *Call) error {
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	terms, end := c.trialTerms(ctx)
	defer end()
	terms.Retry = c.on("retry")
	switch {
	case c.given("put-back") && c.on("retry"):
		return c.withUsage(fault.Usagef("advanced update-default-images: --retry and --put-back do not go together"))
	case c.given("put-back") && c.on("dry-run"):
		return c.withUsage(fault.Usagef("advanced update-default-images: --dry-run and --put-back do not go together"))
	case c.given("put-back"):
		back, restarts, err := c.Images.PutBack(ctx, c.User, c.option("put-back"), terms)
		if err != nil {
			return err
		}
		c.say("%s is again the version created %s; the other is kept", back.Ref.Short(), minute(back.Created))
		return c.showRestarted(restarts)
	}
	var failed, unasked []string
	kind := fault.InUse // unless something else went wrong
	var restarted []images.Restart
	none := true
	err := c.Images.UpdateDefaults(ctx, c.User, c.on("dry-run"), terms, func(u images.Update) {
		none = false
		end()
		c.say("%s: %s", u.Image.Ref.Short(), c.outcome(u))
		if u.Newest != nil && u.Err == nil && u.Tried == "" && !c.on("dry-run") {
			c.say("  no node tried it before the others: none is free that has been up")
		}
		for _, o := range u.Offers {
			c.say("  %s: %s", o.Location, c.offered(o, u.Image))
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

// trialTerms are those under which a new default image is tried on one node, which is
// shown until end is called.
func (c *Call) trialTerms(ctx context.Context) (terms images.Terms, end func()) {
	tries, end := c.tries()
	return images.Terms{
		Given: consent.Agreement{Whoever: c.on("yes")},
		Ask: func(contest *consent.Error) error {
			end()
			return c.askVisited(ctx, contest)
		},
		Tried: tries,
	}, end
}

func setDefault(ctx context.Context, c *Call) error {
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	if err := c.seed(ctx); err != nil {
		return err
	}
	terms, end := c.trialTerms(ctx)
	defer end()
	var restarted []images.Restart
	err := c.Images.SetDefault(ctx, c.User, c.arg(0), terms, func(d images.Default) {
		end()
		what := fmt.Sprintf("%s is the default image of %s now", c.arg(0), d.Model)
		switch {
		case d.Same:
			what = fmt.Sprintf("%s is the default image of %s already", c.arg(0), d.Model)
		case d.Tried != "":
			what += ", first on " + d.Tried + ", which came up"
		}
		if d.Kept != (images.Ref{}) {
			what += "; the one before is kept as " + d.Kept.Short()
		}
		c.say("%s", what)
		restarted = append(restarted, d.Restarts...)
	})
	return errors.Join(err, c.showRestarted(restarted))
}

func asked(o images.Offer) bool { return o.Asked }

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
	case u.Newest == nil && u.Skipped != nil && u.Skipped.Failed():
		return "nothing newer than the one created " + minute(u.Skipped.Created) + ", on which no node came up: the present one stays (--retry tries it again)"
	case u.Newest == nil && u.Skipped != nil:
		return "nothing newer than the one created " + minute(u.Skipped.Created) + ", which was put back: the present one stays (--retry takes it again)"
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
	what := "updated from " + u.Newest.Location
	if u.Tried != "" {
		what += ", first on " + u.Tried + ", which came up"
	}
	return what + "; the one before is kept as " + u.Kept.Short()
}

// tries shows, until end is called, how the first node of an update comes up: on a
// terminal a line that changes, without one a line for each node.
func (c *Call) tries() (show func(images.Trial), end func()) {
	last := ""
	if !c.fancy() {
		return func(t images.Trial) {
			if t.Node != last {
				c.note("Trying the new %s on %s before the others: it should be up within %v.", t.Image.Short(), t.Node, t.Limit)
			}
			last = t.Node
		}, func() {}
	}
	return func(t images.Trial) {
			last = t.Node
			c.fleeting("Trying the new %s on %s: %s, %v of %v ...", t.Image.Short(), t.Node, t.State, t.Took.Truncate(time.Second), t.Limit)
		}, func() {
			if last != "" {
				c.wipe()
			}
			last = ""
		}
}

// showRestarted tells which nodes were restarted because their image changed.
func (c *Call) showRestarted(restarts []images.Restart) error {
	var changes []nodes.Change
	for _, r := range restarts {
		ch := nodes.Change{Node: nodes.Name(r.Node), Image: r.Image, Reboot: nodes.Reboot{Outcome: nodes.RebootOutcome(r.Outcome), Reason: r.Reason}}
		changes = append(changes, ch)
	}
	c.showChanges(changes, c.describeChange)
	return failedReboots(changes, false)
}
