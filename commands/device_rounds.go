package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"walt/api"
	"walt/fault"
	"walt/nodes"
)

// What "device test" does unless it is told otherwise.
const (
	usualRounds = 20
	usualLimit  = 15 * time.Minute
)

// deviceTest boots a node again and again, tells what came of each round as soon as that is
// known, and in the end what came of all.
func deviceTest(ctx context.Context, c *Call) error {
	t := nodes.Trial{Rounds: usualRounds, Hard: c.on("hard"), Limit: usualLimit}
	var err error
	if c.given("rounds") {
		if t.Rounds, err = c.number("--rounds", c.option("rounds")); err != nil {
			return err
		}
		if t.Rounds > nodes.MostRounds {
			return c.withUsage(fault.Usagef("--rounds: %d are too many; want 1 to %d", t.Rounds, nodes.MostRounds))
		}
	}
	if c.given("timeout") {
		if t.Limit, err = duration("--timeout", c.option("timeout")); err != nil {
			return err
		}
	}
	found, err := c.nodesWithConsent(ctx, "Test")
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return c.withUsage(fault.Usagef("device test: one node at a time"))
	}
	n := found[0].Device
	doc := api.TestRun{Rounds: []api.Round{}}
	show, hide := c.roundGoesOn(t)
	end := c.showPending()
	v, ended := c.Lab.Test(ctx, c.User, n, t, show, func(r nodes.Round) {
		hide()
		doc.Rounds = append(doc.Rounds, api.NewRound(r))
		if !c.on("json") {
			c.say("Round %d of %d: %s", r.Number, t.Rounds, wordsOf(r))
		}
	})
	end()
	hide()
	if v.Rounds == 0 {
		return ended
	}
	if c.on("json") {
		doc.Node, doc.Test = n.Name, api.NewTest(v)
		err = c.print(doc)
	} else {
		c.tellVerdict(n.Name, v)
	}
	if f := cmp.Or(ended, err); f != nil {
		return f
	}
	if v.Up < v.Rounds {
		return fault.Failedf("%s did not come up in %d of %d rounds", n.Name, v.Rounds-v.Up, v.Rounds).
			WithHint("see how far it is with: node show %s\nwhat can be wrong: help show hardware", n.Name)
	}
	return nil
}

// roundGoesOn shows on a terminal how far the present round is, until hide is called.
func (c *Call) roundGoesOn(t nodes.Trial) (show func(int, nodes.Status), hide func()) {
	if !c.fancy() {
		return func(int, nodes.Status) {}, func() {}
	}
	return func(number int, s nodes.Status) {
		done, _ := s.Step.Reached()
		c.fleeting("Round %d of %d: it %s ...", number, t.Rounds, done)
	}, c.wipe
}

// wordsOf says what came of a round, as in "up after 12.3 s (address 4.0, up 8.3)".
func wordsOf(r nodes.Round) string {
	var legs []string
	for _, l := range r.Legs {
		legs = append(legs, fmt.Sprintf("%s %.1f", l.Step, l.Took.Seconds()))
	}
	steps := ""
	if len(legs) > 0 {
		steps = " (" + strings.Join(legs, ", ") + ")"
	}
	if r.Why == "" {
		return "up after " + tenths(r.Took) + steps
	}
	return fmt.Sprintf("failed after %s, no further than %s: %s%s", tenths(r.Took), r.At, r.Why, steps)
}

// tenths is a length of time for people who compare some.
func tenths(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// tellVerdict tells how long the steps took, and in how many rounds a node came up.
func (c *Call) tellVerdict(n nodes.Name, v nodes.Verdict) {
	row := func(step string, s nodes.Spread) []string {
		return []string{step, tenths(s.Min), tenths(s.Median), tenths(s.Max)}
	}
	var rows [][]string
	for _, s := range v.Steps {
		rows = append(rows, row(string(s.Step), s.Spread))
	}
	if v.Up > 0 {
		rows = append(rows, row("all of it", v.Whole))
	}
	if len(rows) > 0 {
		c.lines(func(w io.Writer) {
			fmt.Fprintln(w)
			columns(w, c.table(), c.fancy(), []string{"STEP", "MIN", "MEDIAN", "MAX"}, rows)
			fmt.Fprintln(w)
		})
	}
	c.say("%s %s", n, v.Words())
}

// testedOne returns what came of the last test of the device that a line asks for by its
// name alone; nil when it does not, or there was none.
func (c *Call) testedOne(ctx context.Context, found nodes.List) (*nodes.Verdict, error) {
	if !c.showsOne() {
		return nil, nil
	}
	for d := range found.Found() {
		if v, tested, err := c.Lab.VerdictOn(ctx, d); tested {
			return &v, err
		} else if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// testWords says who tested a device, when, and what came of it.
func testWords(v nodes.Verdict) string {
	return fmt.Sprintf("by %s, %s UTC: it %s", v.By, minute(v.Ended), v.Words())
}
