package commands

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/journal"
	"walt/nodelogs"
)

// awaited is what "log wait" waits for: an event, or what nodes say.
type awaited struct {
	what   string                          // in words
	until  time.Time                       // later it does not come
	follow func(ctx context.Context) error // ends with errFound, or with ctx
	late   func(when string) error         // that it did not come then
}

// errFound ends the reading of a log.
var errFound = errors.New("found")

// logWait returns when what is waited for came, which it prints.
func logWait(ctx context.Context, c *Call) error {
	pattern, err := c.pattern()
	if err != nil {
		return err
	}
	await := c.awaitEvent
	if c.given("nodes") {
		await = c.awaitLines
	}
	w, err := await(ctx, pattern)
	if err != nil {
		return err
	}
	now := c.Now()
	if !w.until.After(now) {
		return c.withUsage(fault.Usagef("log wait: the range %q is over, and nothing comes in it any more", c.option("history")))
	}
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	limited, cancel, err := c.limited(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	inRange, cancel := context.WithTimeout(limited, w.until.Sub(now))
	defer cancel()
	c.note("Waiting for %s that matches: %s", w.what, pattern)
	err = w.follow(inRange)
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return w.late("within " + withUnit(c.option("timeout")))
	case inRange.Err() != nil:
		return w.late("in the range " + c.option("history"))
	}
	return fault.New(fault.Interrupted, "the log is closed")
}

// awaitEvent has the first event waited for that matches.
func (c *Call) awaitEvent(ctx context.Context, pattern *regexp.Regexp) (w awaited, err error) {
	if err := c.aboutNodes("streams", "all"); err != nil {
		return w, err
	}
	from, until, wanted, err := c.events(ctx, "none", true)
	if err != nil {
		return w, err
	}
	matches := func(e journal.Event) (journal.Event, bool) {
		e, ok := wanted(e)
		if !ok {
			return e, false
		}
		if some, ok := e.Of(func(node string) bool { return pattern.MatchString(line(e.One(node))) }); ok {
			return some, true
		}
		return e, pattern.MatchString(line(e))
	}
	out := c.newEventWriter(true)
	return awaited{
		what: "an event", until: until.Time(),
		follow: func(ctx context.Context) error {
			return c.Journal.Follow(ctx, from, journal.Reader{Wanted: matches, Show: func(page []journal.Event, _ int) error {
				return errors.Join(errFound, out.show(page[:1]))
			}})
		},
		late: func(when string) error {
			return fault.Failedf("no event matched %s: %s", when, pattern).WithHint("see what happened meanwhile with: log show -n 20")
		},
	}, nil
}

// awaitLines has the first line waited for that matches and that one of the nodes says, with
// --all one of each.
func (c *Call) awaitLines(ctx context.Context, pattern *regexp.Regexp) (w awaited, err error) {
	s, err := c.speakers(ctx)
	if err != nil {
		return w, err
	}
	q, err := s.wanted(ctx, "none", true)
	if err != nil {
		return w, err
	}
	s.tellDeaf()
	what := "a line"
	if c.on("all") {
		what = "a line of each node"
	}
	missing, out := maps.Clone(s.are), s.newWriter(true)
	return awaited{
		what: what, until: q.Until,
		follow: func(ctx context.Context) error {
			return c.NodeLogs.Follow(ctx, q, func(lines []nodelogs.Line, _ bool) error {
				for _, l := range lines {
					if !missing[l.Node] || !pattern.MatchString(s.text(l)) {
						continue
					}
					delete(missing, l.Node)
					if err := out.show([]nodelogs.Line{l}); err != nil {
						return err
					}
					if !c.on("all") || len(missing) == 0 {
						return errFound
					}
				}
				return nil
			})
		},
		late: func(when string) error {
			if s.hidden > 0 {
				s.tellHidden()
			}
			f := fault.Failedf("no line matched %s: %s", when, pattern)
			if c.on("all") && len(missing) < len(s.are) {
				var silent []string
				for mac := range missing {
					silent = append(silent, string(s.name(mac)))
				}
				slices.Sort(silent)
				f = fault.Failedf("%s no line matched of %s: %s", when, fault.Few(silent), pattern)
			}
			return f.WithHint("see what they said meanwhile with: log show --nodes %s -n 20", c.option("nodes"))
		},
	}, nil
}

// optionIn is the fault for an option of the command in the text that begins with the i-th
// argument, where it would be a part of that; nil without one, or behind "--".
func (c *Call) optionIn(i int) error {
	for _, word := range c.args[min(i, len(c.args)):] {
		name, _, _ := strings.Cut(word, "=")
		if _, ours := c.flag(name); ours && c.flags.ArgsLenAtDash() < 0 {
			text, first := c.cmd.Args[i].Name, c.cmd.Args[0].Name
			return c.withUsage(fault.Usagef("%s: %s is behind %s, which takes the rest of the line", c.cmd.Path, name, text).
				WithHint("options go before %s; if that is meant as text, put -- before %s", first, first))
		}
	}
	return nil
}

// pattern is the rest of the line as a regular expression.
func (c *Call) pattern() (*regexp.Regexp, error) {
	if err := c.optionIn(0); err != nil {
		return nil, err
	}
	text := c.rest(0)
	pattern, err := regexp.Compile(text)
	if bad, ok := errors.AsType[*syntax.Error](err); ok {
		return nil, c.withUsage(fault.Usagef("log wait: %q is not a regular expression: %s: %s", text, bad.Code, bad.Expr).
			WithHint(`a backslash takes the meaning of a sign away, as in \(`))
	}
	return pattern, err
}
