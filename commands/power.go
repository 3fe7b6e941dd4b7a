package commands

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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

// portRow is a port as programs see it.
type portRow struct {
	Switch nodes.Name `json:"switch"`
	Port   int        `json:"port"`
	Node   *string    `json:"node"`
	Power  string     `json:"power"`
	Since  *time.Time `json:"since"`
	Error  *string    `json:"error"`
}

func powerShow(ctx context.Context, c *Call) error {
	report, err := c.Lab.Power(ctx)
	if err != nil {
		return err
	}
	hours := report.Saved.Hours()
	rows := []portRow{}
	var cells [][]string
	for _, p := range report.Ports {
		row := portRow{Switch: p.Switch, Port: p.Port.Number, Node: orNull(string(p.Node)), Power: p.Power, Error: orNull(p.Error)}
		since := "-"
		if !p.Since.IsZero() {
			row.Since, since = &p.Since, ago(c.Now(), p.Since)
		}
		rows = append(rows, row)
		cells = append(cells, []string{string(p.Switch), strconv.Itoa(p.Port.Number), orDash(row.Node), p.Power, since, p.Error})
	}
	if c.on("json") {
		return c.print(map[string]any{"ports": rows, "saved_port_hours": hours})
	}
	if len(cells) == 0 {
		c.note("The server knows no port that it may switch. See: help show power")
	} else {
		c.rows([]string{"SWITCH", "PORT", "NODE", "POWER", "SINCE", "TROUBLE"}, cells)
	}
	fmt.Fprintf(c.Out, "Saved so far: %.1f port-hours\n", hours)
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
