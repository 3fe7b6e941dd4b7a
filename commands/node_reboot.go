package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

func nodeReboot(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var done []nodes.Change
	err = c.withConsent(ctx, "Reboot", func(given consent.Given) error {
		return c.Lab.Reboot(ctx, c.User, set, c.on("hard"), given, func(ch nodes.Change) {
			if done = append(done, ch); ch.Reboot.Outcome == nodes.RebootOK {
				fmt.Fprintf(c.Out, "%s is rebooting\n", ch.Node)
			}
		})
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(done, func(a, b nodes.Change) int { return nodes.Naturally(a.Node, b.Node) })
	var cannot []string
	for _, ch := range done {
		if ch.Reboot.Outcome == nodes.RebootNone {
			cannot = append(cannot, string(ch.Node))
		}
	}
	failed := failedReboots(done)
	if len(cannot) == 0 {
		return failed
	}
	f := fault.Failedf("the server has no means to reboot %s", strings.Join(cannot, ", ")).
		WithHint("switch it off and on by hand: a node boots its image at every start")
	if also := fault.As(failed); also != nil {
		f.Msg += "; " + also.Msg
	}
	return f
}

// failedReboots is the fault for nodes whose reboot failed, nil without any.
func failedReboots(changes []nodes.Change) error {
	var failed, reasons []string
	why := map[string][]string{} // by reason
	for _, ch := range changes {
		if ch.Reboot.Outcome != nodes.RebootFailed {
			continue
		}
		reason := ch.Reboot.Reason
		if why[reason] == nil {
			reasons = append(reasons, reason)
		}
		failed = append(failed, string(ch.Node))
		why[reason] = append(why[reason], string(ch.Node))
	}
	if len(failed) == 0 {
		return nil
	}
	for i, reason := range reasons {
		reasons[i] = strings.Join(why[reason], ", ") + ": " + reason
	}
	return fault.Failedf("could not reboot %s", strings.Join(reasons, "; ")).
		WithHint("try again with: node reboot %s", strings.Join(failed, ","))
}
