package commands

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"
	"time"

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
	*Call
	are    map[ethernet.MAC]bool
	user   auth.User
	hidden int          // lines that are for others
	deaf   []nodes.Name // those whose lines are for others as things are

	known map[ethernet.MAC]*nodes.Device // as they were when it was looked
	at    time.Time                      // when that was
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
	s := &speakers{Call: c, are: map[ethernet.MAC]bool{}, user: auth.User{Name: c.User, Admin: c.Admin, Created: c.Created}}
	for d := range found.Found() {
		s.are[d.MAC] = true
		if !d.Hears(s.user, d.Owner(), c.Now()) {
			s.deaf = append(s.deaf, d.Name)
		}
	}
	return s, nil
}

// tellDeaf tells whose lines that are to come the user does not get.
func (s *speakers) tellDeaf() {
	switch len(s.deaf) {
	case 0:
	case 1:
		s.note("What %s says is not shown to you while it is somebody else's.", s.deaf[0])
	default:
		s.note("What %s say is not shown to you while they are somebody else's.", fault.Few(s.deaf))
	}
}

// lookAgain is for how long it is taken for granted what a device is called and with whom it is
// shared: who follows lines does so for days.
const lookAgain = time.Second

// device is one of them as it is now; nil when it is gone.
func (s *speakers) device(mac ethernet.MAC) *nodes.Device {
	if now := s.Now(); now.Sub(s.at).Abs() > lookAgain {
		s.known, s.at = map[ethernet.MAC]*nodes.Device{}, now
	}
	d, known := s.known[mac]
	if !known {
		var err error
		if d, err = s.Lab.WithMAC(mac); err != nil {
			s.Log.Error("look up a node that says something", "mac", mac, "err", err)
		}
		s.known[mac] = d
	}
	return d
}

// hears reports whether a line is for the user.
func (s *speakers) hears(l nodelogs.Line) bool {
	d := s.device(l.Node)
	if d != nil && d.Hears(s.user, l.Owner, l.Time) {
		return true
	}
	s.hidden++
	return false
}

// tellHidden tells how many lines were for others.
func (s *speakers) tellHidden() {
	are := "are"
	if s.hidden == 1 {
		are = "is"
	}
	s.note("%s %s not shown: said while the nodes were somebody else's.", count(s.hidden, "line"), are)
}

// name is what a device is called.
func (s *speakers) name(mac ethernet.MAC) nodes.Name {
	if d := s.device(mac); d != nil {
		return d.Name
	}
	return nodes.Name(mac)
}

// wanted is which lines a command asks for: of those nodes, streams and times.
func (s *speakers) wanted(ctx context.Context, usual string, live bool) (q nodelogs.Query, err error) {
	for _, name := range []string{"issuers", "type"} {
		if s.given(name) {
			return q, s.withUsage(fault.Usagef("%s: --%s is about what happened, and --nodes about what nodes say: one of the two", s.cmd.Path, name))
		}
	}
	streams := strings.Split(s.option("streams"), ",")
	for _, glob := range streams {
		if _, err := path.Match(glob, ""); err != nil || glob == "" && s.given("streams") {
			return q, fault.Usagef("--streams: %q is not a glob", glob).WithHint("a * stands for any characters, as in exp* or *")
		}
	}
	if q.From, q.Until, err = s.history(ctx, usual, live); err != nil {
		return q, err
	}
	if live && cmp.Or(s.option("history"), usual) == "none" {
		q.From = s.NodeLogs.Now() // lines may be ahead of the clock
	}
	q.Nodes = func(mac ethernet.MAC) bool { return s.are[mac] }
	q.Wanted = func(l nodelogs.Line) bool {
		for _, glob := range streams {
			if ok, _ := path.Match(glob, l.Stream); ok || !s.given("streams") { // it is one, see above
				return s.hears(l)
			}
		}
		return false
	}
	return q, nil
}

// text is a line for people.
func (s *speakers) text(l nodelogs.Line) string {
	return clean(fmt.Sprintf("%s %s %s: %s", l.Time.Format("2006-01-02 15:04:05.000"), s.name(l.Node), l.Stream, l.Text))
}

func (s *speakers) newWriter(follow bool) *logWriter[nodelogs.Line] {
	text := func(l nodelogs.Line) string { return s.fit(s.Session, s.text(l)+"\n") }
	document := func(l nodelogs.Line) any {
		return api.Line{Time: l.Time, Node: s.name(l.Node), Stream: l.Stream, Line: l.Text}
	}
	return newLogWriter(s.Call, "lines", follow, text, document)
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
	q, err := s.wanted(ctx, usual, follow)
	if err != nil {
		return err
	}
	out := s.newWriter(follow)
	if c.given("lines") {
		n, err := c.number("-n", c.option("lines"))
		if err != nil {
			return err
		}
		now := c.NodeLogs.Now()
		last, err := c.NodeLogs.Last(ctx, q, n)
		if err == nil {
			err = out.show(last)
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
		s.tellDeaf()
		return c.followLines(ctx, q, out)
	case !c.given("lines"):
		if err := c.NodeLogs.Read(ctx, q, out.show); err != nil {
			return err
		}
	}
	if s.hidden > 0 {
		s.tellHidden()
	} else if out.none() && !c.on("json") {
		in := ""
		if c.given("streams") {
			in = " in these streams"
		}
		c.note("They said nothing then%s. How nodes say something: help show log", in)
	}
	return out.end()
}

// followLines shows lines as they come.
func (c *Call) followLines(ctx context.Context, q nodelogs.Query, out *logWriter[nodelogs.Line]) error {
	waiting, cancel := c.waiting(ctx)
	defer cancel()
	if c.Terminal != nil && !c.on("json") {
		c.note("Following what the nodes say. Ctrl-C ends this.")
	}
	err := c.NodeLogs.Follow(waiting, q, func(lines []nodelogs.Line, lost bool) error {
		if lost {
			c.note("Lines are left out here: they were removed before they were read.")
		}
		return out.show(lines)
	})
	if err != nil {
		return err
	}
	return context.Cause(waiting)
}
