package commands

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"walt/api"
	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

// deed is something that is done to the power of nodes, in words.
type deed struct {
	verb          string // of the question
	before, after string // its infinitive, around the names of nodes
	others        string // what nodes are by it that have no line of their own
	words         map[nodes.RebootOutcome]string
	start         string // of one that was off; "": as of others
}

func switching(way string) deed {
	return deed{
		verb: "Switch " + way, before: "switch", after: " " + way, others: way,
		words: map[nodes.RebootOutcome]string{nodes.RebootOK: "is " + way, nodes.RebootSkipped: "is already " + way},
	}
}

func nodeOff(ctx context.Context, c *Call) error {
	return c.switchNodes(ctx, "off", func(set nodes.Set, given consent.Agreement, each func(nodes.Change)) error {
		return c.Lab.PowerOff(ctx, c.User, set, c.on("hard"), given, each)
	})
}

func nodeOn(ctx context.Context, c *Call) error {
	return c.switchNodes(ctx, "on", func(set nodes.Set, given consent.Agreement, each func(nodes.Change)) error {
		return c.Lab.PowerOn(ctx, c.User, set, given, each)
	})
}

func (c *Call) switchNodes(ctx context.Context, way string, do func(nodes.Set, consent.Agreement, func(nodes.Change)) error) error {
	w := switching(way)
	done, err := c.eachNode(ctx, w, do)
	if err != nil {
		return err
	}
	var failed error
	if f := failedChanges(done, "switch "+way); f != nil {
		failed = f.WithHint("%s", hintUnswitched(done))
	}
	return w.undone(done, failed, "it switches virtual nodes, and those whose port or outlets it may switch (see: help show power)")
}

// eachNode does something to the nodes of the set that is the first argument, and tells what
// came of each as soon as that is known; with --json in the end.
func (c *Call) eachNode(ctx context.Context, w deed, do func(nodes.Set, consent.Agreement, func(nodes.Change)) error) (done []nodes.Change, err error) {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return nil, err
	}
	told := 0
	count, end := c.counting()
	err = c.withConsent(ctx, w.verb, func(given consent.Agreement) error {
		return do(set, given, func(ch nodes.Change) {
			done = append(done, ch)
			defer func() { count(len(done)) }()
			words := w.words[ch.Reboot.Outcome]
			if ch.With != "" {
				words += " with " + string(ch.With) + ", which the same outlet feeds"
			}
			switch {
			case ch.Reboot.Rousing:
				words = sentPackets
			case ch.Reboot.Start:
				words = cmp.Or(w.start, words)
			}
			if words == "" || c.on("json") {
				return
			}
			if told++; told <= manyLines {
				c.say("%s %s", ch.Node, words)
			}
		})
	})
	end()
	if told > manyLines {
		c.say("%s %s", english.Plural(told-manyLines, "other is", "others are"), w.others)
	}
	c.warnPartly(done)
	slices.SortStableFunc(done, func(a, b nodes.Change) int { return a.Node.Compare(b.Node) })
	switch {
	case err != nil:
	case c.on("json"):
		err = c.print(api.NewChanges(nodes.Result{Changes: done}))
	default:
		c.noteRousing(done)
	}
	return done, err
}

// sentPackets is what came of a node that packets wake.
const sentPackets = "was sent packets that wake it"

// noteRousing tells how to see of nodes that were sent packets whether these woke them.
func (c *Call) noteRousing(done []nodes.Change) {
	var names []string
	for _, ch := range done {
		if ch.Reboot.Rousing {
			names = append(names, string(ch.Node))
		}
	}
	switch {
	case fault.Many(names):
		c.note("They show themselves when they boot; see which did with: node show --all")
	case len(names) > 1:
		c.note("They show themselves when they boot; wait for that with: node wait %s", strings.Join(names, ","))
	case len(names) == 1:
		c.note("It shows itself when it boots; wait for that with: node wait %s", names[0])
	}
}

// countEvery is how often a user without a terminal is told how far a long command is.
const countEvery = 10 * time.Second

// counting shows, until end is called, with how many nodes a command is done that have no
// line each: on a terminal in a line that changes, without one now and then.
func (c *Call) counting() (count func(done int), end func()) {
	last, shown := c.Now(), false
	return func(done int) {
			now := c.Now()
			switch {
			case done <= manyLines:
			case c.fancy():
				if now.Sub(last) >= barEvery && c.pending.String() == "" { // which tells more
					last, shown = now, true
					c.fleeting("Done with %d nodes so far ...", done)
				}
			case now.Sub(last) >= countEvery:
				last = now
				c.note("Done with %d nodes so far.", done)
			}
		}, func() {
			if shown {
				c.wipe()
			}
		}
}

// undone is the fault for nodes to which it could not be done, nil without any: failed is
// that for those of which it failed, hint is for those of which the server has no means.
func (w deed) undone(done []nodes.Change, failed error, hint string) error {
	var cannot []string
	for _, ch := range done {
		if ch.Reboot.Outcome == nodes.RebootNone {
			cannot = append(cannot, string(ch.Node))
		}
	}
	if len(cannot) == 0 {
		return failed
	}
	f := fault.Failedf("the server has no means to %s %s%s", w.before, fault.Few(cannot), w.after).WithHint("%s", hint)
	if also := fault.As(failed); also != nil {
		f.Msg += "; " + also.Msg
	}
	return f
}

// hintUnswitched says where to look after what could not be switched.
func hintUnswitched(done []nodes.Change) string {
	var failed []string
	for _, ch := range done {
		if ch.Reboot.Again {
			return "the server goes on trying; see how with: power show"
		}
		if ch.Reboot.Outcome == nodes.RebootFailed {
			failed = append(failed, string(ch.Node))
		}
	}
	if len(failed) == 1 {
		return "see what it is doing with: node show " + failed[0]
	}
	return "see what they are doing with: node show --all"
}
