package commands

import (
	"context"
	"errors"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/images"
)

func imageLoad(ctx context.Context, c *Call) error {
	to, err := images.ParseName(c.User, c.arg(0))
	if err != nil {
		return err
	}
	platform, err := c.platform()
	if err != nil {
		return err
	}
	if c.Terminal != nil {
		return fault.Usagef("an archive is read from standard input, and nobody can type one").
			WithHint("send it instead: docker save IMAGE | ssh walt@SERVER %s", strings.TrimPrefix(c.line, "walt "))
	}
	if err := c.seed(ctx); err != nil {
		return err
	}
	report, end := c.progress("load " + to.Short())
	loaded, err := c.Images.Load(ctx, images.Archived{In: c.In, Image: c.option("image"), Platform: platform}, to, images.Terms{
		Force: c.on("force") || c.justGiven(to.Short()),
		Given: consent.Agreement{Whoever: c.on("yes")},
		Ask: func(contest *consent.Error) error {
			c.showClaims(contest.Nodes)
			return fault.New(fault.InUse, "not confirmed; nothing changed").
				WithHint("nobody can be asked while standard input is the archive; --yes answers in advance")
		},
		Report: report,
	})
	end()
	if err != nil {
		return err
	}
	if v := loaded.Image.Variant; v != "" {
		c.note("The archive has variants for several platforms: that for %s was taken.", v)
	}
	c.say("%s is loaded: %s, for %s", to.Short(), size(loaded.Image.Size), strings.Join(images.ModelNames(loaded.Image.Models), ", "))
	return errors.Join(c.warnNew(ctx, loaded.Image), c.showRestarted(loaded.Restarts))
}
