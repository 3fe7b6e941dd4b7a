package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
	"walt/nodes"
	"walt/remote"
)

func nodePing(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	named, err := c.Lab.Show(ctx, c.User, set)
	if err != nil {
		return err
	}
	found, err := named.Now(ctx)
	if err != nil {
		return err
	}
	took, errs := make([]time.Duration, len(found)), make([]error, len(found))
	var g errgroup.Group
	g.SetLimit(sessionsAtOnce)
	for i, n := range found {
		g.Go(func() error {
			took[i], errs[i] = c.Lab.Ping(ctx, n)
			return nil
		})
	}
	if g.Wait(); ctx.Err() != nil {
		return ctx.Err()
	}
	var failed []string
	var silent []nodes.DeviceStatus
	for i, n := range found {
		if errs[i] != nil {
			failed, silent = append(failed, fmt.Sprintf("%s (%v)", n.Name, errs[i])), append(silent, n)
			continue
		}
		c.say("%s answers in %.1f ms", n.Name, float64(took[i].Microseconds())/1000)
	}
	if len(failed) == 0 {
		return nil
	}
	hint, err := c.wakingUp(ctx, silent)
	if err != nil {
		return err
	}
	return fault.Failedf("no answer from %s", strings.Join(failed, ", ")).WithHint("%s", hint)
}

// wakingUp says what may help nodes that do not answer, a line for each way.
func (c *Call) wakingUp(ctx context.Context, silent []nodes.DeviceStatus) (string, error) {
	var coming, stuck, alone []string
	for _, n := range silent {
		means, err := c.Lab.CanRestart(ctx, *n.Device)
		switch {
		case err != nil:
			return "", err
		case n.State == nodes.Booting, n.State == nodes.Powersave:
			coming = append(coming, string(n.Name))
		case means:
			stuck = append(stuck, string(n.Name))
		default:
			alone = append(alone, string(n.Name))
		}
	}
	var lines []string
	if len(coming) > 0 {
		lines = append(lines, "wait for what is coming up with: node wait "+strings.Join(coming, ","))
	}
	if len(stuck) > 0 {
		lines = append(lines, "start anew what is stuck or off with: node reboot --hard "+strings.Join(stuck, ","))
	}
	if len(alone) > 0 {
		lines = append(lines, "switch off and on by hand, since the server has no means to: "+strings.Join(alone, ", "))
	}
	return strings.Join(lines, "\n"), nil
}

// noSuchCommand is the status with which a shell says that there is none.
const noSuchCommand = 127

func nodeBlink(ctx context.Context, c *Call) error {
	d := time.Minute
	if c.arg(1) != "" {
		var err error
		if d, err = duration("D", c.arg(1)); err != nil {
			return err
		}
	}
	found, err := c.nodesWithConsent(ctx, "Blink with")
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return c.withUsage(fault.Usagef("node blink: one node at a time"))
	}
	if found, err = c.wake(ctx, found); err != nil {
		return err
	}
	n := found[0]
	switch err := c.Lab.Blink(ctx, c.User, n, d); {
	case err == nil:
		c.say("%s blinks for %v", n.Name, d)
		return nil
	case !errors.Is(err, nodes.ErrNoAgent):
		return err
	}
	v := remote.Session{Command: fmt.Sprintf("blink %d", max(1, int(d.Seconds()))), In: strings.NewReader(""), Out: c.Out, Err: c.Err}
	switch status, err := c.Lab.RunSession(ctx, c.User, n, v.Command, v); {
	case err != nil:
		return err
	case status == noSuchCommand:
		return fault.Failedf("the image that %s boots, %s, has no command blink", n.Name, n.Image).
			WithHint("add one to the image that lets the node be found, with a light or a sound:\nit is called with a number of seconds")
	case status != 0:
		return fault.Failedf("the command blink ended with status %d on %s", status, n.Name)
	}
	c.say("%s has blinked", n.Name)
	return nil
}
