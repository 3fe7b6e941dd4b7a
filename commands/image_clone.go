package commands

import (
	"context"
	"fmt"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/images"
)

func imageClone(ctx context.Context, c *Call) error {
	from, err := images.ParseLink(c.arg(0))
	if err != nil {
		return err
	}
	platform := c.option("platform")
	if platform != "" && !images.ValidPlatform(platform) {
		return c.withUsage(fault.Usagef("%q is not a platform", platform).WithHint("a platform is as in linux/arm/v7, linux/arm64 or linux/amd64"))
	}
	to, changed, err := c.Images.CloneName(from, c.User, c.arg(1))
	if err != nil {
		return err
	}
	if from.Location == images.Here && from.Ref == to {
		return fault.Failedf("%s is your image %s already; nothing changed", from, to.Short()).
			WithHint("copy it under a second name with: image duplicate %s NEW", to.Short())
	}
	if changed {
		c.note("%s is no valid name here: the clone is called %s.", strings.TrimPrefix(from.Ref.String(), string(from.Ref.User)+"/"), to.Short())
	}
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	report, end := c.progress(from.String())
	cloned, err := c.Images.CloneFrom(ctx, from, to, images.Terms{
		Force: c.on("force"),
		Given: consent.Given{Whoever: c.on("yes")},
		Ask: func(contest *consent.Error) error {
			end()
			return c.askConsent(ctx, "Overwrite "+to.Short()+" and reboot", contest)
		},
		Report:   report,
		Platform: platform,
	})
	end()
	if err != nil {
		return err
	}
	if v := cloned.Image.Variant; v != "" && from.Location != images.Here {
		c.note("%s has variants for several platforms: that for %s was taken.", from, v)
	}
	fmt.Fprintf(c.Out, "%s is a clone of %s\n", to.Short(), from)
	return c.showRestarted(cloned.Restarts)
}

func imageDuplicate(ctx context.Context, c *Call) error {
	if _, err := c.workingSet(ctx); err != nil {
		return err
	}
	from, to, err := c.Images.Duplicate(ctx, c.User, c.arg(0), c.arg(1))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%s has the content of %s\n", to.Ref.Short(), from.Ref.Short())
	return nil
}
