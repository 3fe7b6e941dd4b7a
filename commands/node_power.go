package commands

import (
	"context"
	"slices"

	"github.com/dustin/go-humanize/english"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

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

// switchNodes switches the nodes of the set that is the first argument off or on, and
// tells what came of each.
func (c *Call) switchNodes(ctx context.Context, way string, do func(nodes.Set, consent.Agreement, func(nodes.Change)) error) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var done []nodes.Change
	told := 0
	err = c.withConsent(ctx, "Switch "+way, func(given consent.Agreement) error {
		return do(set, given, func(ch nodes.Change) {
			done = append(done, ch)
			words := map[nodes.RebootOutcome]string{nodes.RebootOK: " is ", nodes.RebootSkipped: " is already "}[ch.Reboot.Outcome]
			if words == "" {
				return
			}
			if told++; told <= manyLines {
				c.say("%s%s%s", ch.Node, words, way)
			}
		})
	})
	if told > manyLines {
		c.say("%s %s", english.Plural(told-manyLines, "other is", "others are"), way)
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(done, func(a, b nodes.Change) int { return a.Node.Compare(b.Node) })
	return unswitched(done, way)
}

// unswitched is the fault for nodes that could not be switched, nil without any.
func unswitched(done []nodes.Change, way string) error {
	var cannot []string
	for _, ch := range done {
		if ch.Reboot.Outcome == nodes.RebootNone {
			cannot = append(cannot, string(ch.Node))
		}
	}
	failed := failedChanges(done, "switch "+way)
	if failed != nil {
		failed = failed.WithHint("%s", hintUnswitched(done))
	}
	if len(cannot) == 0 {
		if failed == nil {
			return nil
		}
		return failed
	}
	f := fault.Failedf("the server has no means to switch %s %s", fault.Few(cannot), way).
		WithHint("it switches virtual nodes, and those that are alone on a port that it may switch (see: help show power)")
	if failed != nil {
		f.Msg += "; " + failed.Msg
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
