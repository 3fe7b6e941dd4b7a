package commands

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"walt/api"
	"walt/images"
)

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
