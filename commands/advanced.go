package commands

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"walt/api"
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
that boot it. Nodes that somebody owns, and clones, are left alone. The replaced
version is kept under the date of today as its tag until the next update, and
--put-back makes it the present one again.`,
		Flags: []Flag{
			{Name: "dry-run", Usage: "only say what would be done"},
			{Name: "put-back", Value: "NAME", Usage: "undo the last update of one default image", Complete: completeReplaced},
		},
		Run: updateDefaults,
	}, {
		Path: "advanced jobs", Short: "show the transfers of images that run or wait", Topic: "registries",
		Flags: []Flag{jsonFlag},
		Run:   showJobs,
	}, {
		Path: "advanced jobs retry", Short: "try the download of a default image now", Topic: "registries",
		Args: []Arg{job},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.Lab.RetryJob(ctx, c.User, c.arg(0)); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "%s is tried now\n", c.arg(0))
			return nil
		},
	}, {
		Path: "advanced jobs cancel", Short: "stop a transfer", Topic: "registries",
		Long: `Stops what a user waits for: one's own, or as an administrator anybody's. Others
who wait for the same content go on. The download of a default image, which is
for nodes and not for a user, stays stopped until it is retried.`,
		Args: []Arg{job},
		Run: func(ctx context.Context, c *Call) error {
			if err := c.Lab.CancelJob(ctx, c.User, c.arg(0)); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "%s is stopped\n", c.arg(0))
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
			fmt.Fprintf(c.Out, "%s in %s %sfreed\n", size(freed.Bytes), count(freed.Blobs, "file"), would)
			return nil
		},
	}, {
		Path: "advanced backup", Short: "write a copy of all data to standard output", Topic: "admin",
		Long: `Only administrators: ssh walt@SERVER advanced backup > FILE. The server goes on
meanwhile. "waltd restore FILE" makes a data directory of it.`,
		Run: func(ctx context.Context, c *Call) error {
			switch {
			case !c.Admin:
				return fault.Failedf("only administrators make backups").WithHint("see who is one with: user show")
			case c.Terminal != nil:
				return fault.Usagef("a backup is not for a terminal").WithHint("write it to a file: ssh walt@SERVER advanced backup > FILE")
			}
			return c.Backup(ctx, c.Out)
		},
	}}
}

func updateDefaults(ctx context.Context, c *Call) error {
	switch {
	case c.given("put-back") && c.on("dry-run"):
		return c.misused(fault.Usagef("advanced update-default-images: --dry-run and --put-back do not go together"))
	case c.given("put-back"):
		back, changes, err := c.Lab.PutBack(ctx, c.User, c.option("put-back"))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s is again the version created %s; the other is kept\n", back.Ref.Short(), minute(back.Created))
		return c.showRestarted(changes)
	}
	var failed []string
	var restarted []nodes.Change
	none := true
	err := c.Lab.UpdateDefaults(ctx, c.User, c.on("dry-run"), func(u nodes.Update) {
		none = false
		fmt.Fprintf(c.Out, "%s: %s\n", u.Image.Ref.Short(), c.outcome(u))
		for _, o := range u.Offers {
			fmt.Fprintf(c.Out, "  %s: %s\n", o.Location, c.offered(o, u.Image))
		}
		if u.Err != nil {
			failed = append(failed, u.Image.Ref.Short())
		}
		restarted = append(restarted, u.Changes...)
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

// minute is a moment for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// outcome says what became of one default image.
func (c *Call) outcome(u nodes.Update) string {
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

// showRestarted tells which free nodes were restarted.
func (c *Call) showRestarted(changes []nodes.Change) error {
	for _, ch := range changes {
		fmt.Fprintf(c.Out, "%s %s\n", ch.Node, became(ch))
	}
	return failedReboots(changes)
}

func showJobs(ctx context.Context, c *Call) error {
	all, err := c.Lab.Jobs(ctx)
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
func (c *Call) progressOf(j nodes.Job) string {
	failed := ""
	if j.Tries > 0 && !j.Running {
		failed = "failed " + count(j.Tries, "time") + ", "
	}
	return failed + c.nextOf(j)
}

func (c *Call) nextOf(j nodes.Job) string {
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
	all, err := c.Lab.Jobs(ctx)
	for _, j := range all {
		if j.User == "" || j.User == c.User {
			c.note("%s: %s (see: advanced jobs)", j.What, c.progressOf(j))
		}
	}
	return err
}
