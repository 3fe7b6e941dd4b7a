package commands

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"walt/api"
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
	report, err := c.Lab.PowerReport(ctx)
	if err != nil {
		return err
	}
	if c.on("json") {
		return c.print(api.NewPower(report))
	}
	var cells [][]string
	for _, p := range report.Ports {
		cells = append(cells, []string{p.Switch, strconv.Itoa(p.Number), cmp.Or(p.Node, "-"), p.Power, ago(c.Now(), p.Since), p.Error})
	}
	if len(cells) == 0 {
		c.note("The server knows no port that it may switch. See: help show power")
	} else {
		c.rows([]string{"SWITCH", "PORT", "NODE", "POWER", "SINCE", "TROUBLE"}, cells)
	}
	fmt.Fprintf(c.Out, "Saved so far: %.1f port-hours\n", report.Saved.Hours())
	return nil
}
