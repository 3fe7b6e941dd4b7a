package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	humanize "github.com/dustin/go-humanize"

	"walt/api"
	"walt/auth"
	"walt/fault"
	"walt/nodes"
)

// acquireWaiting takes nodes when they are available and it is the user's turn.
func (c *Call) acquireWaiting(ctx context.Context, want nodes.Want) error {
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	limited, cancel, err := c.limited(waiting)
	if err != nil {
		return err
	}
	defer cancel()
	stopping := func() bool { return waiting.Err() != nil && ctx.Err() == nil }
	end := c.showPending()
	result, err := c.Lab.AcquireWhenFree(limited, c.User, want, nodes.Waiting{
		Line: c.line, Report: c.standing(), Alive: c.Alive, Stopping: stopping,
	})
	end()
	switch {
	case err == nil:
		return c.showResult(ctx, result)
	case !limitedOut(limited, err):
		return err
	case stopping():
		why := fault.As(context.Cause(waiting))
		if why == nil {
			return err
		}
		return fault.New(fault.InUse, "%s; nothing changed", why.Msg).
			WithHint("for a minute from its next start your place is kept for who repeats: %s", c.line)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fault.New(fault.InUse, "not yours after %s; nothing changed", withUnit(c.option("timeout"))).
			WithHint("see who waits with: node queue\nwait again with: %s", c.line)
	}
	return err
}

// limitedOut reports whether a context ended, and an error is that of this.
func limitedOut(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// standing returns what tells the user where in the queue that is: at first, and then when
// it is near the front, or has come half of the way.
func (c *Call) standing() func(nodes.Place) {
	last, told := 0, ""
	return func(p nodes.Place) {
		out := outOfService(p.Retired)
		fresh := out != told
		if told = out; last > 0 && fresh {
			if c.note("%s", cmp.Or(out, "what you wait for is in service again")); p.Place == last {
				return
			}
		}
		where := "you are " + humanize.Ordinal(p.Place)
		switch {
		case last == 0:
			if p.Of > 1 {
				where += fmt.Sprintf(" of %d", p.Of)
			}
			if p.Ahead != "" {
				ahead := string(p.Ahead)
				if p.Ahead == c.User {
					ahead = "yourself"
				}
				where += fmt.Sprintf(", behind %s (%s, %s)", ahead, p.Wants, spell(c.Now().Sub(p.Since)))
			}
			if e := p.End; e != nil {
				where += fmt.Sprintf("; next known end: %s of %s at %s", e.Node, e.Owner, c.instant(e.At))
			}
			are := "is"
			if p.There > 1 {
				are = "are"
			}
			there := strconv.Itoa(p.There)
			if p.There == 0 {
				there = "none"
			}
			if out != "" {
				where += "; " + out
			}
			c.note("waiting for %s: %s %s available; %s", p.What, there, are, where)
		case p.Place <= 3 || p.Place <= last/2:
			c.note("%s", where)
		default:
			return
		}
		last = p.Place
	}
}

// outOfService tells of nodes that are, without which a wish cannot be met; "" when none is.
func outOfService(retired []nodes.Name) string {
	is, which := "is", fault.Joined(retired, ",")
	switch {
	case len(retired) == 0:
		return ""
	case fault.Many(retired):
		is, which = "are", "--all"
	case len(retired) > 1:
		is = "are"
	}
	return fmt.Sprintf("%s %s out of service, see: node show %s", fault.Few(retired), is, which)
}

func nodeQueue(ctx context.Context, c *Call) error {
	all, err := c.Lab.Queue(ctx)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewQueue(all))
	}
	var cells [][]string
	for _, q := range all {
		var notes []string
		if q.Remarks.Job != "" {
			notes = append(notes, "job "+string(q.Remarks.Job))
		}
		if q.Remarks.Note != "" {
			notes = append(notes, q.Remarks.Note)
		}
		if !q.Here {
			notes = append(notes, "not connected, the place is kept for a moment")
		}
		cells = append(cells, []string{strconv.Itoa(q.Place), strconv.Itoa(q.ID), c.userOrYou(q.User), q.What, spell(c.Now().Sub(q.Since)), strings.Join(notes, ", ")})
	}
	if len(all) == 0 {
		c.note("Nobody waits for nodes.")
		return nil
	}
	c.rows([]string{"POS", "ID", "USER", "WANTS", "SINCE", "NOTE"}, cells)
	return nil
}

// userOrYou is the name of a user, or "you".
func (c *Call) userOrYou(u auth.Name) string {
	if u == c.User {
		return "you"
	}
	return string(u)
}

func nodeQueueCancel(ctx context.Context, c *Call) error {
	id, err := c.number("ID", c.arg(0))
	if err != nil {
		return err
	}
	all, err := c.Lab.Queue(ctx)
	if err != nil {
		return err
	}
	for _, q := range all {
		if q.ID != id || q.User == c.User || !c.Admin || c.on("yes") {
			continue
		}
		c.note("%s waits for %s since %s.", q.User, q.What, spell(c.Now().Sub(q.Since)))
		if err := c.ask(ctx, "End that?"); err != nil {
			return err
		}
	}
	if err := c.Lab.CancelWish(ctx, c.User, id, c.Admin); err != nil {
		return err
	}
	c.say("%d is no longer in the queue", id)
	return nil
}

// completeWish completes the number of a wish that the user may end.
func completeWish(ctx context.Context, c *Call, word string) (words []string) {
	all, _ := c.Lab.Queue(ctx)
	for _, q := range all {
		if id := strconv.Itoa(q.ID); (q.User == c.User || c.Admin) && strings.HasPrefix(id, word) {
			words = append(words, id)
		}
	}
	return words
}
