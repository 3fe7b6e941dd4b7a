package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"walt/api"
	"walt/auth"
	"walt/ethernet"
	"walt/fault"
	"walt/nodelogs"
	"walt/nodes"
)

// The options that say which lines of nodes are meant.
var (
	linesFlag   = Flag{Name: "nodes", Value: "SET", Usage: "what these nodes say, instead of what happened", Complete: completeSet}
	streamsFlag = Flag{Name: "streams", Value: "GLOB", Usage: "with --nodes: only these streams, joined by commas"}
)

// aboutNodes is the fault for an option that says something of the lines of nodes, where
// none are asked for.
func (c *Call) aboutNodes(options ...string) error {
	for _, name := range options {
		if c.given(name) {
			return c.withUsage(fault.Usagef("%s: --%s is for --nodes", c.cmd.Path, name))
		}
	}
	return nil
}

// speakers are the devices whose lines are asked for.
type speakers struct {
	by     map[ethernet.MAC]*nodes.Device
	user   auth.User
	hidden int // lines that are for others
}

func (c *Call) speakers(ctx context.Context) (*speakers, error) {
	set, err := nodes.ParseSet(c.option("nodes"))
	if err != nil {
		return nil, err
	}
	found, err := c.Lab.Show(ctx, c.User, set)
	if err != nil {
		return nil, err
	}
	s := &speakers{by: map[ethernet.MAC]*nodes.Device{}, user: auth.User{Name: c.User, Admin: c.Admin, Created: c.Created}}
	for d := range found.Found() {
		s.by[d.MAC] = d
	}
	return s, nil
}

// hears reports whether a line is for the user.
func (s *speakers) hears(l nodelogs.Line) bool {
	if s.by[l.Node].Hears(s.user, l.Owner, l.Time) {
		return true
	}
	s.hidden++
	return false
}

// linesWanted is which lines a command asks for: of those nodes, streams and times.
func (c *Call) linesWanted(ctx context.Context, s *speakers, usual string, live bool) (q nodelogs.Query, err error) {
	for _, name := range []string{"issuers", "type"} {
		if c.given(name) {
			return q, c.withUsage(fault.Usagef("%s: --%s is about what happened, and --nodes about what nodes say: one of the two", c.cmd.Path, name))
		}
	}
	streams := strings.Split(c.option("streams"), ",")
	for _, glob := range streams {
		if _, err := path.Match(glob, ""); err != nil || glob == "" && c.given("streams") {
			return q, fault.Usagef("--streams: %q is not a glob", glob).WithHint("a * stands for any characters, as in exp* or *")
		}
	}
	if q.From, q.Until, err = c.history(ctx, usual, live); err != nil {
		return q, err
	}
	q.Nodes = func(mac ethernet.MAC) bool { return s.by[mac] != nil }
	q.Wanted = func(l nodelogs.Line) bool {
		for _, glob := range streams {
			if ok, _ := path.Match(glob, l.Stream); ok || !c.given("streams") { // it is one, see above
				return s.hears(l)
			}
		}
		return false
	}
	return q, nil
}

// text is a line for people.
func (s *speakers) text(l nodelogs.Line) string {
	return clean(fmt.Sprintf("%s %s %s: %s", l.Time.Format("2006-01-02 15:04:05.000"), s.by[l.Node].Name, l.Stream, l.Text))
}

// lineOutput writes lines of nodes as lines, or as documents.
type lineOutput struct {
	c        *Call
	speakers *speakers
	out      *bufio.Writer
	list     *list // of the one document; nil for lines
	some     bool
}

func (o *lineOutput) show(lines []nodelogs.Line) error {
	for _, l := range lines {
		o.some = true
		var err error
		doc := api.Line{Time: l.Time, Node: o.speakers.by[l.Node].Name, Stream: l.Stream, Line: l.Text}
		switch {
		case o.list != nil:
			err = o.list.add(doc)
		case o.c.on("json"):
			err = printTo(o.out, doc)
		default:
			_, err = io.WriteString(o.out, o.c.fit(o.c.Session, o.speakers.text(l)+"\n"))
		}
		if err != nil {
			return err
		}
	}
	return o.out.Flush()
}

// showLines is "log show --nodes".
func (c *Call) showLines(ctx context.Context) error {
	s, err := c.speakers(ctx)
	if err != nil {
		return err
	}
	follow, usual := c.on("realtime"), "24h"
	switch {
	case c.given("lines"):
		usual = "full"
	case follow:
		usual = "none"
	}
	q, err := c.linesWanted(ctx, s, usual, follow)
	if err != nil {
		return err
	}
	o := &lineOutput{c: c, speakers: s, out: bufio.NewWriterSize(c.Out, bufferSize)}
	if c.on("json") && !follow {
		o.list = newList(o.out, "lines")
	}
	if c.given("lines") {
		n, err := c.number("-n", c.option("lines"))
		if err != nil {
			return err
		}
		now := c.Now()
		last, err := c.NodeLogs.Last(ctx, q, n)
		if err == nil {
			err = o.show(last)
		}
		if err != nil {
			return err
		}
		if q.From = now; len(last) > 0 {
			q.From = last[len(last)-1].Time.Add(1) // lines have microseconds
		}
	}
	switch {
	case follow:
		return c.followLines(ctx, q, o)
	case !c.given("lines"):
		if err := c.NodeLogs.Read(ctx, q, o.show); err != nil {
			return err
		}
	}
	if s.hidden > 0 {
		are := "are"
		if s.hidden == 1 {
			are = "is"
		}
		c.note("%s %s not shown: said while the nodes were somebody else's.", count(s.hidden, "line"), are)
	} else if !o.some && !c.on("json") {
		c.note("They said nothing then. How nodes say something: help show log")
	}
	if o.list != nil {
		return o.list.end()
	}
	return nil
}

// followLines shows lines as they come.
func (c *Call) followLines(ctx context.Context, q nodelogs.Query, o *lineOutput) error {
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	if c.Terminal != nil && !c.on("json") {
		c.note("Following what the nodes say. Ctrl-C ends this.")
	}
	err := c.NodeLogs.Follow(waiting, q, func(lines []nodelogs.Line, lost bool) error {
		if lost {
			c.note("Lines are left out here: they were removed before they were read.")
		}
		return o.show(lines)
	})
	if err != nil {
		return err
	}
	return context.Cause(waiting)
}

// waitForLines is "log wait --nodes": it ends with the first line that matches, or with
// --all when each of the nodes has said one.
func (c *Call) waitForLines(ctx context.Context) error {
	s, err := c.speakers(ctx)
	if err != nil {
		return err
	}
	pattern, err := c.pattern()
	if err != nil {
		return err
	}
	q, err := c.linesWanted(ctx, s, "none", true)
	if err != nil {
		return err
	}
	if q.Until.Before(c.Now()) {
		return c.withUsage(fault.Usagef("log wait: the range %q is over, and nothing comes in it any more", c.option("history")))
	}
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	limited, cancel, err := c.limited(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	missing := map[ethernet.MAC]bool{}
	for mac := range s.by {
		missing[mac] = true
	}
	what := "a line"
	if c.on("all") {
		what = "a line of each node"
	}
	c.note("Waiting for %s that matches: %s", what, pattern)
	o := &lineOutput{c: c, speakers: s, out: bufio.NewWriterSize(c.Out, bufferSize)}
	err = c.NodeLogs.Follow(limited, q, func(lines []nodelogs.Line, lost bool) error {
		for _, l := range lines {
			if !missing[l.Node] || !pattern.MatchString(s.text(l)) {
				continue
			}
			delete(missing, l.Node)
			if err := o.show([]nodelogs.Line{l}); err != nil {
				return err
			}
			if !c.on("all") || len(missing) == 0 {
				return errFound
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() == nil: // the range is over
		return fault.Failedf("no line matched in the range %s: %s", c.option("history"), pattern)
	}
	f := fault.Failedf("no line matched within %s: %s", withUnit(c.option("timeout")), pattern)
	if c.on("all") && len(missing) < len(s.by) {
		var silent []string
		for mac := range missing {
			silent = append(silent, string(s.by[mac].Name))
		}
		slices.Sort(silent)
		f = fault.Failedf("within %s no line matched of %s: %s", withUnit(c.option("timeout")), fault.Few(silent), pattern)
	}
	return f.WithHint("see what they said meanwhile with: log show --nodes %s -n 20", c.option("nodes"))
}
