package commands

import (
	"context"
	"fmt"
	"strings"
	"time"

	"walt/api"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
)

func logCommands() []Command {
	return []Command{{
		Path: "log show", Short: "show what happened in the lab, or what nodes say", Topic: "log",
		Long: `Shows what happened in the last 24 hours; with -n, the last N of all events that
are kept; with --realtime, what happens from now on. RANGE says otherwise: it is
a length of time until now (2h, 7d), two instants (2026-11-01..2026-11-03T12:00)
or marks (@exp1.., see: log mark --help), or two lengths of time ago (-2h:-30m),
of which either may be left out, "full" or "none". With --nodes it shows the
lines that nodes say, by syslog for instance, in the same way.
--issuers takes users and devices, globs and keywords of device sets.
TYPE is one or several of these, joined by commas:
` + listTypes(),
		Flags: []Flag{
			{Name: "history", Value: "RANGE", Usage: "time range to show", Complete: completeRange},
			{Name: "lines", Short: "n", Value: "N", Usage: "only the last N events of that"},
			{Name: "realtime", Short: "f", Usage: "keep following, until Ctrl-C"},
			issuersFlag, typeFlag, linesFlag, streamsFlag,
			{Name: "json", Usage: "print one JSON document; with --realtime, one a line"},
		},
		Run: logShow,
	}, {
		Path: "log wait", Short: "wait until something happens, or until nodes say it", Topic: "log", Passes: true,
		Long: `Waits for an event whose line, as "log show" prints it, matches PATTERN, prints
it and ends with status 0; with status 1 when it did not come in time. PATTERN
is a regular expression, and the rest of the line as it is typed; options go
before it. What happened before counts only with --history. With --nodes it
waits for a line that one of the nodes says, with --all for one of each.`,
		Args: []Arg{{Name: "PATTERN", Many: true}},
		Flags: []Flag{
			timeoutFlag,
			{Name: "history", Value: "RANGE", Usage: "what happened in this time range counts, too", Complete: completeRange},
			issuersFlag, typeFlag, linesFlag, streamsFlag,
			{Name: "all", Usage: "with --nodes: until each of them has said such a line"},
			{Name: "json", Usage: "print one JSON document; of several lines, one each"},
		},
		Run: logWait,
	}, {
		Path: "log mark", Short: "give this moment a name", Topic: "log",
		Long: `Gives this moment a name, as in @exp1, that RANGE takes:

    log show --history @exp1..

A name that is given again is of the later moment. Marks are yours alone.`,
		Args:  []Arg{{Name: "@NAME", Complete: completeMark}},
		Flags: []Flag{{Name: "remove", Usage: "remove the mark"}},
		Run:   logMark,
	}, {
		Path: "log marks", Short: "show the moments that you marked", Topic: "log",
		Flags: []Flag{jsonFlag},
		Run:   logMarks,
	}}
}

func logShow(ctx context.Context, c *Call) error {
	if c.given("nodes") {
		return c.showLines(ctx)
	}
	if err := c.aboutNodes("streams"); err != nil {
		return err
	}
	follow := c.on("realtime")
	usual := "24h"
	switch {
	case c.given("lines"):
		usual = "full"
	case follow:
		usual = "none"
	}
	from, until, wanted, err := c.events(ctx, usual, follow)
	if err == nil && c.given("lines") {
		from, err = c.lastLines(ctx, from, until, wanted)
	}
	if err != nil {
		return err
	}
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	if follow && c.Terminal != nil && !c.on("json") {
		c.note("Following the log: what happens is shown as it does. Ctrl-C ends this.")
	}
	out := c.newEventWriter(follow)
	live := journal.Reader{Wanted: wanted, Show: out.follow, Patience: readerPatience}
	if follow && until.After(journal.At(c.Now())) { // one call for both: no event falls between
		if err := c.Journal.Follow(waiting, from, live); err != nil {
			return err
		}
		return context.Cause(waiting)
	}
	if err := c.Journal.History(ctx, from, until, wanted, out.show); err != nil {
		return err
	}
	if follow {
		now, err := c.Journal.Now(ctx)
		if err == nil {
			err = c.Journal.Follow(waiting, journal.At(now), live)
		}
		if err != nil {
			return err
		}
		return context.Cause(waiting)
	}
	if out.none() && !c.on("json") {
		c.note("Nothing happened then. See all that is kept with: log show --history full")
	}
	return out.end()
}

// lastLines returns the place before the last of the wanted events that --lines
// asks for.
func (c *Call) lastLines(ctx context.Context, from, until journal.Mark, wanted journal.Filter) (journal.Mark, error) {
	n, err := c.number("-n", c.option("lines"))
	if err != nil {
		return from, err
	}
	return c.Journal.Last(ctx, from, until, n, wanted)
}

// line is an event for people.
func line(e journal.Event) string {
	what := e.Detail
	switch e.Type {
	case journal.Ownership:
		what = fmt.Sprintf("%s -> %s: %s", orFree(e.From), orFree(e.To), e.Detail)
	case journal.Boot, journal.Image, journal.State:
		what = strings.TrimSuffix(strings.TrimPrefix(e.From+" -> "+e.To, " -> "), " -> ")
		if e.Detail != "" {
			what += ": " + e.Detail
		}
	case journal.User, journal.Download:
		what = e.To + ": " + e.Detail
	case journal.LoginRefused: // of a login name, from an address
		what = e.To + " from " + e.From + ": " + e.Detail
		if e.Count > 1 {
			what += fmt.Sprintf(" (%d times within an hour)", e.Count)
		}
	case journal.Visit:
		what = "a node of " + e.From + ": " + e.Detail
		if len(e.Nodes) > 1 {
			what = "nodes of " + e.From + ": " + e.Detail
		}
	case journal.Power:
		if at := nodes.Step(e.Step).Stands(); at != "" {
			what += " (" + at + ")"
		}
	case journal.Registration:
		if e.From != "" && e.To != "" {
			what = e.From + " -> " + e.To + ": " + e.Detail
		}
	}
	about := ""
	if nodes := e.About(); len(nodes) > 0 {
		about = " " + fault.Few(nodes)
	}
	return clean(fmt.Sprintf("%s %s %s%s: %s", e.Time.UTC().Format("2006-01-02 15:04:05"), e.Type, e.Actor, about, what))
}

func orFree(owner string) string {
	if owner == "" {
		return "free"
	}
	return owner
}

// readerPatience is how long nothing may be taken of what "log show --realtime"
// tells before events are left out.
const readerPatience = 5 * time.Second

// skipped is the type of what stands in the place of events that were left out; it
// is in no journal.
const skipped journal.Type = "skipped"

// newEventWriter writes events.
func (c *Call) newEventWriter(follow bool) *eventWriter {
	text := func(e journal.Event) string {
		s := c.fit(c.Session, line(e)+"\n")
		for _, text := range e.Lines {
			s += "    | " + clean(text) + "\n"
		}
		return s
	}
	return &eventWriter{newLogWriter(c, "events", follow, text, func(e journal.Event) any { return api.NewEvent(e) })}
}

type eventWriter struct{ *logWriter[journal.Event] }

// follow writes events as they come, and how many were left out before.
func (w *eventWriter) follow(page []journal.Event, missed int) error {
	if missed > 0 {
		if err := w.write(w.leftOut(missed)); err != nil {
			return err
		}
	}
	return w.show(page)
}

// leftOut stands in the place of events that were not shown.
func (w *eventWriter) leftOut(missed int) journal.Event {
	return journal.Event{
		Time: w.c.Now().UTC(), Type: skipped, Actor: journal.Server, Count: missed,
		Detail: fmt.Sprintf("%s left out, since the output was not read in time (see: log show)", count(missed, "line")),
	}
}
