package commands

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"walt/api"
	"walt/nodes"
)

func powerCommands() []Command {
	return []Command{{
		Path: "power show", Short: "show the ports that power nodes, and what was saved", Topic: "power",
		Long: `Shows the switch ports that the server may switch, whether they have power, and
for how long ports have been off so far, all added up.`,
		Flags: []Flag{jsonFlag},
		Run:   powerShow,
	}}
}

func powerShow(ctx context.Context, c *Call) error {
	report, err := c.Lab.Power(ctx)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewPower(report))
	}
	var cells [][]string
	for _, p := range report.Ports {
		cells = append(cells, []string{string(p.Switch), strconv.Itoa(p.Port.Number), cmp.Or(string(p.Node), "-"), p.Power, ago(c.Now(), p.Since), p.Error})
	}
	if len(cells) == 0 {
		c.note("The server knows no port that it may switch. See: help show power")
	} else {
		c.rows([]string{"SWITCH", "PORT", "NODE", "POWER", "SINCE", "TROUBLE"}, cells)
	}
	fmt.Fprintf(c.Out, "Saved so far: %.1f port-hours\n", report.Saved.Hours())
	return nil
}

// awake gives nodes that are off to save power their power back. With wait, it
// returns when these are up, or when they should have been.
func (c *Call) awake(ctx context.Context, found nodes.Nodes, wait bool) (nodes.Nodes, error) {
	woke, err := c.Lab.Wake(ctx, found)
	if len(woke) > 0 {
		c.note("Waking %s, which had been switched off to save power.", nameList(woke))
	}
	if err != nil || len(woke) == 0 || !wait {
		return found, err
	}
	return c.Lab.Woken(ctx, found, woke)
}

func nameList(some nodes.Nodes) string {
	var names []string
	for _, n := range some {
		names = append(names, string(n.Name))
	}
	return strings.Join(names, ", ")
}
