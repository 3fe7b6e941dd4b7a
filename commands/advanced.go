package commands

import (
	"context"
	"fmt"

	"walt/fault"
)

func advancedCommands() []Command {
	job := Arg{Name: "ID", Complete: completeJob}
	return []Command{{
		Path: "advanced update-default-images", Short: "replace default images by newer ones", Topic: "images",
		Long: `Looks in every registry and in the docker daemon for a version of each default
image with a newer creation date, takes the newest, and reboots the free nodes
that boot it. Nodes that somebody owns, and clones, are left alone. The replaced
version is kept under the date of today as its tag until the next update, and
--put-back makes it the present one again; the other is not taken again until
there is something newer. When somebody has a session on one of the nodes that
would reboot, that is asked first.`,
		Flags: []Flag{
			{Name: "dry-run", Usage: "only say what would be done"},
			{Name: "put-back", Value: "NAME", Usage: "undo the last update of one default image", Complete: completeReplaced},
			yesFlag, noInputFlag,
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
			if err := c.Images.RetryJob(ctx, c.User, c.arg(0)); err != nil {
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
			if err := c.Images.CancelJob(ctx, c.User, c.arg(0)); err != nil {
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
