package commands

import (
	"context"
	"fmt"
)

func imagePublish(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
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
