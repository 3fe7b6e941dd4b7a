package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/nodes"
)

// nodeExtend sets anew when the holds of nodes end.
func nodeExtend(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var end nodes.End
	switch d := c.arg(1); {
	case d != "" && c.given("until"):
		return c.withUsage(fault.Usagef("node extend: D or --until T, not both"))
	case c.given("until"):
		end, err = c.endAt(c.option("until"))
	case d == "never":
		end.Never = true
	case d == "" && c.on("while-connected"):
	case d == "":
		return c.withUsage(fault.Usagef("node extend: for how long is missing"))
	default:
		end, err = c.endAfter("D", d)
	}
	if err != nil {
		return err
	}
	result, err := c.Lab.Extend(ctx, c.User, set, end, c.on("while-connected"))
	if err != nil {
		return err
	}
	return c.whileConnected(ctx, result, func() error {
		if c.on("json") || c.on("names-only") {
			return c.tellResult(ctx, result)
		}
		c.showChanges(result.Changes, c.describeHold)
		return nil
	})
}

// whileConnected ties nodes to the channel of the session when that is asked for, and tells
// of them. A channel that is for this one line alone it keeps open as long as it can.
func (c *Call) whileConnected(ctx context.Context, r nodes.Result, tell func() error) error {
	if !c.on("while-connected") {
		return tell()
	}
	channel := ctx
	if c.Channel != nil {
		channel = c.Channel()
	}
	var names []nodes.Name
	for _, ch := range r.Changes {
		names = append(names, ch.Node)
	}
	if err := c.Lab.Tie(channel, c.User, names); err != nil {
		return err
	}
	err := tell()
	if c.Several {
		return err
	}
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	if c.Terminal != nil {
		c.note("Holding %s while you are connected. Ctrl-C ends this, and half a minute later the server releases %s.", fault.Joined(names, ", "), itOrThem(names))
	}
	if ended := c.Lab.Untied(ctx, c.User, names); ended != nil {
		if why := fault.As(context.Cause(ctx)); why != nil {
			return why
		}
		return ended
	}
	return fault.Failedf("no longer yours: %s", fault.Joined(names, ", ")).WithHint("see whose nodes are: node show --all")
}

func itOrThem(names []nodes.Name) string {
	if len(names) > 1 {
		return "them"
	}
	return "it"
}

// describeHold tells until when a node is the user's.
func (c *Call) describeHold(ch nodes.Change, several bool) string {
	is := "is"
	if several {
		is = "are"
	}
	held := " without an end"
	if !ch.Until.IsZero() {
		held = " until " + c.instant(ch.Until)
	}
	if ch.Tied && ch.Until.IsZero() {
		held = " while you are connected"
	} else if ch.Tied {
		held += " while you are connected"
	}
	return is + " yours" + held
}

// zone is that of the user's clock.
func (s *Session) zone() *time.Location { return cmp.Or(s.Zone, time.Local) }

// instant is a point in time as the user's clock shows it.
func (c *Call) instant(t time.Time) string { return c.instantFrom(c.Now(), t) }

// instantFrom is a point in time as the user's clock shows it, with its zone; "" for the
// zero time, which never comes. Seconds are shown while they matter.
func (s *Session) instantFrom(now, t time.Time) string {
	form := "2006-01-02 15:04 MST"
	switch {
	case t.IsZero():
		return ""
	case t.Second() != 0 && t.Sub(now) < 10*time.Minute:
		form = "2006-01-02 15:04:05 MST"
	}
	return t.In(s.zone()).Format(form)
}

// warning tells an owner that holds end soon, and what to do about it.
func (s *Session) warning(now time.Time, w nodes.Warning) string {
	holds, end, set := "hold", "ends", strings.Join(w.Nodes, ",")
	if len(w.Nodes) > 1 {
		holds, end = "holds", "end"
	}
	if fault.Many(w.Nodes) {
		set = "my-nodes"
	}
	text := fmt.Sprintf("your %s of %s %s at %s, %s", holds, fault.Few(w.Nodes), end, s.instantFrom(now, w.Until), in(now, w.Until))
	if len(w.Waits) > 0 { // who goes on all the same is refused
		wait, it := "waits", "it"
		if len(w.Waits) > 1 {
			wait = "wait"
		}
		if len(w.Nodes) > 1 {
			it = "them"
		}
		return fmt.Sprintf("%s; %s %s for %s, see: node queue", text, fault.Few(w.Waits), wait, it)
	}
	return fmt.Sprintf("%s; to go on: node extend %s 1h", text, set)
}

// end returns when the hold of nodes is to end, as --for and --until say.
func (c *Call) end() (nodes.End, error) {
	switch {
	case c.given("for") && c.given("until"):
		return nodes.End{}, c.withUsage(fault.Usagef("%s: --for D or --until T, not both", c.cmd.Path))
	case c.given("for"):
		return c.endAfter("--for", c.option("for"))
	case c.given("until"):
		return c.endAt(c.option("until"))
	}
	return nodes.End{}, nil
}

// endAfter is an end some time from now. A number alone is none: who means hours would lose
// the nodes after seconds.
func (c *Call) endAfter(what, s string) (nodes.End, error) {
	if withUnit(s) != s {
		return nodes.End{}, fault.Usagef("%s: %q has no unit", what, s).WithHint("it looks like 90s, 5m, 2h or 3d")
	}
	d, err := duration(what, s)
	switch {
	case err != nil && c.isEnd(s):
		err = fault.Usagef("%s: %q is not a length of time", what, s).WithHint("did you mean --until %s?", s)
	case err == nil && d > nodes.LongestHold:
		err = tooLong(what, s)
	}
	return nodes.End{After: d}, err
}

// isLength reports whether a text is a length of time.
func isLength(s string) bool {
	_, err := duration("", s)
	return err == nil
}

// isEnd reports whether a text is what --until takes.
func (c *Call) isEnd(s string) bool {
	_, err := clockTime(s, c.Now(), c.zone())
	return err == nil || s == "never"
}

func tooLong(what, s string) error {
	return fault.Usagef("%s: %q is more than 10 years away", what, s).WithHint("a hold without an end: --until never")
}

// endAt is an end at a time that the user's clock shows, or never.
func (c *Call) endAt(s string) (nodes.End, error) {
	if s == "never" {
		return nodes.End{Never: true}, nil
	}
	now := c.Now()
	at, err := clockTime(s, now, c.zone())
	switch {
	case err != nil && withUnit(s) == s && isLength(s):
		mean := "--for " + s
		if _, has := c.flag("--for"); !has { // of "node extend" it is an argument
			mean = c.cmd.Path + " " + c.arg(0) + " " + s
		}
		return nodes.End{}, fault.Usagef("--until: %q is a length of time, and no time", s).WithHint("did you mean %s?", mean)
	case err != nil:
		return nodes.End{}, err
	case !at.After(now):
		return nodes.End{}, fault.Usagef("--until: %s is over", c.instant(at)).WithHint("it is %s now", c.instant(now))
	case at.Sub(now) > nodes.LongestHold:
		return nodes.End{}, tooLong("--until", s)
	}
	return nodes.End{At: at}, nil
}

// clockTime parses an instant to come: a time of day is the next moment at which a clock of
// the zone shows it; a date may stand before it, joined by T, and the zone behind it, as in
// RFC 3339. A date alone is the moment at which it begins.
func clockTime(s string, now time.Time, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		t, err := time.Parse(layout, s)
		switch {
		case err != nil:
			continue
		case strings.HasSuffix(layout, "Z07:00"):
			return t, nil
		}
		return nextOf(shownAt(t, zone), t, now, zone)
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		today := now.In(zone)
		for day := range 2 {
			t := time.Date(today.Year(), today.Month(), today.Day()+day, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
			shown := shownAt(t, zone)
			skipped := len(shown) == 0 && t.After(wall(now, zone)) // today's may be over
			if skipped || slices.ContainsFunc(shown, now.Before) {
				return nextOf(shown, t, now, zone)
			}
		}
	}
	return time.Time{}, fault.Usagef("--until: %q is no time", s).
		WithHint("it looks like 18:00, 2026-11-30, 2026-11-30T18:00 or 2026-11-30T18:00+01:00; never: without an end")
}

func zoneName(zone *time.Location) string {
	if zone == time.Local {
		return "the zone of the server"
	}
	return zone.String()
}

// wall is what a clock of the zone shows at an instant, written as if it were UTC.
func wall(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// shownAt returns the instants at which clocks of the zone show what is written as if it
// were UTC: mostly one; two when they are set back over it, none when they are set forward.
func shownAt(t time.Time, zone *time.Location) (all []time.Time) {
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} { // of a change, one is before and one behind it
		_, offset := t.Add(near).In(zone).Zone()
		if at := t.Add(-time.Duration(offset) * time.Second); wall(at, zone).Equal(t) && !slices.ContainsFunc(all, at.Equal) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// nextOf returns the first of the instants that is to come, or the last one; without any
// it is the fault that clocks never show t, which is written as if it were UTC.
func nextOf(all []time.Time, t, now time.Time, zone *time.Location) (time.Time, error) {
	if len(all) == 0 {
		_, before := t.Add(-24 * time.Hour).In(zone).Zone()
		behind := t.Add(-time.Duration(before) * time.Second).In(zone) // what clocks show in its place
		return t, fault.Usagef("--until: no clock shows %s on %s in %s: they are set forward over it", t.Format("15:04"), t.Format(time.DateOnly), zoneName(zone)).
			WithHint("say for example %s", behind.Format("2006-01-02T15:04"))
	}
	if i := slices.IndexFunc(all, now.Before); i >= 0 {
		return all[i], nil
	}
	return all[len(all)-1], nil
}
