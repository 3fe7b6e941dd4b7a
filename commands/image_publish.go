package commands

import (
	"context"
	"fmt"

	"walt/images"
)

func imagePublish(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	img, err := c.Lab.Own(ctx, c.User, c.arg(0))
	if err != nil {
		return err
	}
	var link images.Link
	_, err = c.transfer(ctx, "publish "+img.Ref.Short(), func(ctx context.Context, report func(images.Progress)) (_ images.Image, err error) {
		link, err = c.Library.Publish(ctx, img, c.option("registry"), report)
		return img, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Out, link)
	return nil
}
