package commands

import (
	"cmp"
	"context"
	"time"

	"walt/api"
	"walt/nodes"
)

// powerCommands is what there is to do with the power of all nodes.
func powerCommands() []Command {
	return []Command{{
		Path: "power show", Short: "show what powers nodes, and what was saved", Topic: "power",
		Long: `Shows the switch ports that the server may switch, and the nodes that outlets
of power drivers feed, whether they are to have power (POWER), and whether they
have it as the switch or device says now (STATE), which is asked for 4 s at
most; for how long ports have been off so far, all added up; and the virtual
nodes that are machines, or are switched off. With a set it shows the ports of
these nodes and switches, and these virtual nodes, alone.`,
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeDeviceSet}},
		Flags: []Flag{jsonFlag},
		Run:   powerShow,
	}, {
		Path: "power cycle", Instead: offAndOn,
	}, {
		Path: "power reset", Instead: offAndOn,
	}}
}

// offAndOn is for who looks for the command that other programs have for it.
const offAndOn = `nodes are off for a moment with "node reboot SET --hard"`

func powerShow(ctx context.Context, c *Call) error {
	report, err := c.Lab.PowerReport(ctx)
	if err != nil {
		return err
	}
	none := "The server knows no port that it may switch. See: help show power"
	if len(c.args) > 0 {
		set, err := nodes.ParseSet(c.arg(0))
		if err != nil {
			return err
		}
		found, _, err := c.Lab.Devices(ctx, c.User, set)
		if err != nil {
			return err
		}
		among := map[string]bool{}
		for d := range found.Found() {
			among[string(d.Name)] = true
		}
		all := report.Ports
		report.Ports = nil
		for _, p := range all {
			if among[p.Node] || among[p.Switch] {
				report.Ports = append(report.Ports, p)
			}
		}
		none = "The server knows no port of these that it may switch. See: help show power"
	}
	if c.fancy() && len(report.Ports) > 0 {
		c.fleeting("Asking what power they have ...")
	}
	c.Lab.LookAtPower(ctx, &report)
	if c.fancy() && len(report.Ports) > 0 {
		c.wipe()
	}
	if c.on("json") {
		return c.print(api.NewPower(report))
	}
	var cells [][]string
	for _, p := range report.Ports {
		where := cmp.Or(p.Outlet, "-")
		if p.Switch != "" {
			where = portLabel(p.Number, &p.Name)
		}
		cells = append(cells, []string{cmp.Or(p.Switch, "-"), where, cmp.Or(p.Node, "-"), p.Power, cmp.Or(p.State, "-"), ago(c.Now(), p.Since), p.Trouble(func(t time.Time) string { return ago(c.Now(), t) })})
	}
	if len(cells) == 0 {
		c.note("%s", none)
	} else {
		c.rows([]string{"SWITCH", "PORT", "NODE", "POWER", "STATE", "SINCE", "TROUBLE"}, cells)
	}
	c.say("Saved so far: %.1f port-hours", report.Saved.Hours())
	return nil
}
