package commands

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"walt/api"
	"walt/fault"
	"walt/journal"
)

// errFound ends the reading of the log.
var errFound = errors.New("found")

// logWait returns when an event comes whose line matches, which it prints.
func logWait(ctx context.Context, c *Call) error {
	pattern, err := c.pattern()
	if err != nil {
		return err
	}
	from, until, wanted, err := c.events(ctx, "none", true)
	if err != nil {
		return err
	}
	if !until.After(journal.At(c.Now())) {
		return c.withUsage(fault.Usagef("log wait: the range %q is over, and nothing comes in it any more", c.option("history")))
	}
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	limited, cancel, err := c.limited(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	c.note("Waiting for an event that matches: %s", pattern)
	matches := func(e journal.Event) bool { return wanted(e) && pattern.MatchString(line(e)) }
	err = c.Journal.Follow(limited, from, journal.Reader{Wanted: matches, Show: func(page []journal.Event, _ int) error {
		if c.on("json") {
			return errors.Join(errFound, c.print(api.NewEvent(page[0])))
		}
		_, err := fmt.Fprintln(c.Out, line(page[0]))
		return errors.Join(errFound, err)
	}})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return fault.Failedf("no event matched within %s: %s", c.option("timeout"), pattern).
			WithHint("see what happened meanwhile with: log show -n 20")
	}
	return fault.New(fault.Interrupted, "the log is closed")
}

// pattern is the rest of the line as a regular expression.
func (c *Call) pattern() (*regexp.Regexp, error) {
	for _, word := range c.args {
		name, _, _ := strings.Cut(word, "=")
		if _, ours := c.flag(name); ours && c.flags.ArgsLenAtDash() < 0 {
			return nil, c.withUsage(fault.Usagef("log wait: %s is behind PATTERN, which takes the rest of the line", name).
				WithHint("options go before it; to look for that very text, put -- before PATTERN"))
		}
	}
	text := c.rest(0)
	pattern, err := regexp.Compile(text)
	if bad, ok := errors.AsType[*syntax.Error](err); ok {
		return nil, c.withUsage(fault.Usagef("log wait: %q is not a regular expression: %s: %s", text, bad.Code, bad.Expr).
			WithHint(`a backslash takes the meaning of a sign away, as in \(`))
	}
	return pattern, err
}
