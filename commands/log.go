package commands

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"walt/api"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
)

func logCommands() []Command {
	return []Command{{
		Path: "log show", Short: "show what happened in the lab", Topic: "log",
		Long: `Shows changes of ownership, registrations, downloads, reboots, changes of users
and refused logins. RANGE is a length of time until now (2h, 7d), two instants
(2026-11-01..2026-11-03T12:00, either may be left out), "full" or "none"; the
last 24 hours when nothing is said, none with --realtime. --issuers takes users
and devices, globs and keywords of device sets.`,
		Flags: []Flag{
			{Name: "history", Value: "RANGE", Usage: "time range to show"},
			{Name: "realtime", Usage: "keep following, until Ctrl-C"},
			{Name: "issuers", Value: "SET", Usage: "only what these users did or what is about these devices", Complete: completeIssuers},
			{Name: "json", Usage: "print one JSON document; with --realtime, one a line"},
		},
		Run: logShow,
	}}
}

func logShow(ctx context.Context, c *Call) error {
	from, until, err := c.history()
	if err != nil {
		return err
	}
	wanted, err := c.issuers(ctx)
	if err != nil {
		return err
	}
	follow := c.on("realtime")
	found, none := []api.Event{}, true
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	show := func(e journal.Event) error {
		if !wanted(e) {
			return nil
		}
		none = false
		switch {
		case !c.on("json"):
			_, err := fmt.Fprintln(c.Out, line(e))
			return err
		case follow:
			return c.print(api.NewEvent(e))
		}
		found = append(found, api.NewEvent(e))
		return nil
	}
	if follow && until.After(c.Now()) { // one call for both: no event falls between
		if err := c.Journal.Follow(waiting, from, show); err != nil {
			return err
		}
		return context.Cause(waiting)
	}
	if err := c.Journal.History(ctx, from, until, show); err != nil {
		return err
	}
	switch {
	case follow:
		if err := c.Journal.Follow(waiting, c.Now(), show); err != nil {
			return err
		}
		return context.Cause(waiting)
	case c.on("json"):
		return c.print(api.Events{Events: found})
	case none:
		c.note("Nothing happened then. See all that is kept with: log show --history full")
	}
	return nil
}

// line is an event for people.
func line(e journal.Event) string {
	what := e.Detail
	switch e.Type {
	case journal.Ownership:
		what = fmt.Sprintf("%s -> %s: %s", orFree(e.From), orFree(e.To), e.Detail)
	case journal.Boot, journal.Image:
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
	case journal.Registration:
		if e.From != "" && e.To != "" {
			what = e.From + " -> " + e.To + ": " + e.Detail
		}
	}
	about := ""
	if e.Node != "" {
		about = " " + e.Node
	}
	return clean(fmt.Sprintf("%s %s %s%s: %s", e.Time.UTC().Format("2006-01-02 15:04:05"), e.Type, e.Actor, about, what))
}

func orFree(owner string) string {
	if owner == "" {
		return "free"
	}
	return owner
}

// endOfTime is after every event.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// history returns the bounds of what --history asks for.
func (c *Call) history() (from, until time.Time, err error) {
	now := c.Now()
	until = endOfTime // clocks may have been ahead
	s := c.option("history")
	switch {
	case s == "none" && !c.on("realtime"):
		return now, now, nil
	case s == "none", s == "" && c.on("realtime"):
		return now, until, nil
	case s == "full":
		return time.Time{}, until, nil
	case s == "":
		return now.Add(-24 * time.Hour), until, nil
	}
	first, last, isRange := strings.Cut(s, "..")
	if !isRange {
		d, err := duration("--history", s)
		if err != nil {
			return from, until, c.badRange(s)
		}
		return now.Add(-d), until, nil
	}
	if first != "" {
		if from, err = instant(first); err != nil {
			return from, until, c.badRange(s)
		}
	}
	if last != "" {
		if until, err = instant(last); err != nil {
			return from, until, c.badRange(s)
		}
	}
	if !from.Before(until) {
		return from, until, c.withUsage(fault.Usagef("--history: %q ends before it begins", s))
	}
	return from, until, nil
}

func (c *Call) badRange(s string) error {
	return c.withUsage(fault.Usagef("--history: %q is not a range", s).
		WithHint("it is a length of time (2h, 7d), two instants (2026-11-01..2026-11-03T12:00), full or none"))
}

// instant parses a date with or without a time, in UTC.
func instant(s string) (t time.Time, err error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}

// issuers returns which events --issuers asks for.
func (c *Call) issuers(ctx context.Context) (func(journal.Event) bool, error) {
	if !c.given("issuers") {
		return func(journal.Event) bool { return true }, nil
	}
	known, err := c.knownIssuers(ctx)
	if err != nil {
		return nil, err
	}
	chosen := map[string]bool{}
	var bad []string
	for term := range strings.SplitSeq(c.option("issuers"), ",") {
		found, err := c.issuer(ctx, term, known)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			bad = append(bad, term)
		}
		for _, name := range found {
			chosen[name] = true
		}
	}
	if len(bad) > 0 {
		return nil, fault.Unknown("issuer", bad, known, "see all users with: user show; all devices with: device show")
	}
	return func(e journal.Event) bool { return chosen[string(e.Actor)] || chosen[e.Node] }, nil
}

// knownIssuers lists the users and the devices that there are, and the server.
func (c *Call) knownIssuers(ctx context.Context) ([]string, error) {
	users, err := c.Users.List(ctx)
	if err != nil {
		return nil, err
	}
	known, err := c.Lab.Names(ctx)
	for _, u := range users {
		known = append(known, string(u.Name))
	}
	return append(known, string(journal.Server)), err
}

// issuer returns the names that one term of --issuers stands for.
func (c *Call) issuer(ctx context.Context, term string, known []string) (found []string, err error) {
	if nodes.IsKeyword(term) && term != string(journal.Server) {
		set, err := nodes.ParseSet(term)
		if err != nil {
			return nil, err
		}
		some, _, err := c.Lab.Devices(ctx, c.User, set)
		for _, n := range some {
			found = append(found, string(n.Name))
		}
		return found, err
	}
	if term == "" {
		return nil, fault.Usagef("--issuers: %q has an empty name", c.option("issuers"))
	}
	for _, name := range known {
		ok, err := path.Match(term, name)
		if err != nil {
			return nil, fault.Usagef("--issuers: %q is not a glob", term).WithHint("see: help show device-sets")
		}
		if ok {
			found = append(found, name)
		}
	}
	return found, nil
}
