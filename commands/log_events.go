package commands

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/nodes"
)

// The options that say which events of the log are meant.
var (
	issuersFlag = Flag{Name: "issuers", Value: "SET", Usage: "only what these users did or what is about these devices", Complete: completeIssuers}
	typeFlag    = Flag{Name: "type", Value: "TYPE", Usage: "only events of this type", Complete: completeType}
)

// events returns between which places of the journal the events are that a line
// asks for, usually the range of that name, and which of those. With live, what
// is to come is asked for, too.
func (c *Call) events(ctx context.Context, usual string, live bool) (from, until journal.Mark, wanted journal.Filter, err error) {
	begin, end, err := c.history(ctx, usual, live)
	if err != nil {
		return from, until, nil, err
	}
	issued, err := c.issuers(ctx)
	if err != nil {
		return from, until, nil, err
	}
	typed, err := c.types()
	user := auth.User{Name: c.User, Admin: c.Admin, Created: c.Created}
	return journal.At(begin), journal.At(end), func(e journal.Event) (journal.Event, bool) {
		if !typed(e) {
			return e, false
		}
		return issued(nodes.Readable(e, user))
	}, err
}

func anyEvent(journal.Event) bool { return true }

// endOfTime is after every event.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// history returns the bounds of what --history asks for.
func (c *Call) history(ctx context.Context, usual string, live bool) (from, until time.Time, err error) {
	now := c.Now()
	until = endOfTime // clocks may have been ahead
	s := c.option("history")
	if s == "" {
		s = usual
	}
	switch {
	case s == "none" && !live:
		return now, now, nil
	case s == "none":
		from, err = c.Journal.Now(ctx)
		return from, until, err
	case s == "full":
		return from, until, nil
	}
	first, last, isRange := strings.Cut(s, "..")
	parse := func(s string) (time.Time, error) { return c.moment(ctx, s) }
	if !isRange && strings.HasPrefix(s, "@") {
		first, isRange = s, true
	}
	if !isRange {
		first, last, isRange = strings.Cut(s, ":")
		parse = func(s string) (time.Time, error) { return before(now, s) }
	}
	if !isRange {
		first = "-" + s
	}
	if first != "" {
		from, err = parse(first)
	}
	if last != "" && err == nil {
		until, err = parse(last)
	}
	if f := fault.As(err); f != nil && f.Kind == fault.Failed {
		return from, until, f
	}
	if err != nil {
		return from, until, c.withUsage(fault.Usagef("--history: %q is not a range", s).
			WithHint("it is a length of time (2h, 7d), two lengths of time ago (-2h:-30m), full, none,\nor two instants (2026-11-01..2026-11-03T12:00), of which marks are some (@exp1..)"))
	}
	if !from.Before(until) {
		return from, until, c.withUsage(fault.Usagef("--history: %q ends before it begins", s))
	}
	return from, until, nil
}

// moment parses a mark, or a date with or without a time, in UTC.
func (c *Call) moment(ctx context.Context, s string) (t time.Time, err error) {
	if name, isMark := strings.CutPrefix(s, "@"); isMark {
		return c.History.Marked(ctx, c.User, name)
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}

// before parses a length of time ago, as in -5m.
func before(now time.Time, s string) (time.Time, error) {
	length, ago := strings.CutPrefix(s, "-")
	if !ago {
		return now, fault.Usagef("%q is not a length of time ago", s)
	}
	d, err := duration("--history", length)
	return now.Add(-d), err
}

// listTypes lists the types of events for --help.
func listTypes() string {
	var b strings.Builder
	for line := range slices.Chunk(typeNames(), 6) {
		b.WriteString("  " + strings.Join(line, ", ") + ",\n")
	}
	return strings.TrimSuffix(b.String(), ",\n")
}

func typeNames() (names []string) {
	for _, t := range journal.Types() {
		names = append(names, string(t))
	}
	return names
}

func completeType(context.Context, *Call, string) []string { return typeNames() }

// types returns which events --type asks for.
func (c *Call) types() (func(journal.Event) bool, error) {
	if !c.given("type") {
		return anyEvent, nil
	}
	chosen, err := choices("type", c.option("type"), typeNames(), "see the types of events with: help show log")
	return func(e journal.Event) bool { return slices.Contains(chosen, string(e.Type)) }, err
}

// choices splits the value of an option, words of known ones joined by commas.
func choices(noun, value string, known []string, hint string) ([]string, error) {
	chosen := strings.Split(value, ",")
	if slices.Contains(chosen, "") {
		return nil, fault.Usagef("--%s: %q has an empty name", noun, value)
	}
	if bad := slices.DeleteFunc(slices.Clone(chosen), func(s string) bool { return slices.Contains(known, s) }); len(bad) > 0 {
		return nil, fault.Unknown(noun, bad, known, hint)
	}
	return chosen, nil
}

// issuers returns what of events --issuers asks for: of one about several devices
// that a user did who is not asked for, what it says of those that are.
func (c *Call) issuers(ctx context.Context) (journal.Filter, error) {
	if !c.given("issuers") {
		return func(e journal.Event) (journal.Event, bool) { return e, true }, nil
	}
	users, err := c.knownUsers(ctx)
	if err != nil {
		return nil, err
	}
	users = append(users, string(journal.Server))
	chosen := map[string]bool{}
	var bad []string
	for term := range strings.SplitSeq(c.option("issuers"), ",") {
		found, err := c.issuer(ctx, term, users)
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
		known, err := c.Lab.Names(ctx, "", "")
		if err != nil {
			return nil, err
		}
		known = append(known, users...)
		return nil, fault.Unknown("issuer", bad, known, "see all users with: user show; all devices with: device show")
	}
	return func(e journal.Event) (journal.Event, bool) {
		if chosen[string(e.Actor)] {
			return e, true
		}
		return e.Of(func(node string) bool { return chosen[node] })
	}, nil
}

// issuer returns the names that one term of --issuers stands for: of the users, the server
// among them, and of the devices.
func (c *Call) issuer(ctx context.Context, term string, users []string) (found []string, err error) {
	if nodes.IsKeyword(term) && term != string(journal.Server) || strings.ContainsAny(term, ":+") {
		set, err := nodes.ParseSet(term)
		if err != nil {
			return nil, err
		}
		some, _, err := c.Lab.Devices(ctx, c.User, set)
		for n := range some.Found() {
			found = append(found, string(n.Name))
		}
		return found, err
	}
	if term == "" {
		return nil, fault.Usagef("--issuers: %q has an empty name", c.option("issuers"))
	}
	begin := term // of the names that may match
	if end := strings.IndexAny(term, `*?[\`); end >= 0 {
		begin = term[:end]
	}
	devices, err := c.Lab.Names(ctx, "", begin)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(devices, users) {
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
