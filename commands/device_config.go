package commands

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/nodes"
)

func deviceConfigCommands() []Command {
	return []Command{{
		Path: "device config", Short: "show or change settings of devices", Topic: "power",
		Long: `Shows the settings of the devices, or gives them the ones that are named: all
of them, or none when one is not allowed. "type=switch" makes a switch of an
unknown device. What must stay secret is never shown; with a shell in front of
ssh, quote what has special characters.`,
		Args: []Arg{{Name: "SET", Complete: completeDeviceSet}, settingArg}, Flags: []Flag{yesFlag, noInputFlag},
		Run: func(ctx context.Context, c *Call) error { return c.config(ctx, false) },
	}, {
		Path: "device rescan", Short: "ask switches what is connected to their ports", Topic: "power",
		Long: `Asks all explorable switches, or those of the set, and notes which device is
connected to which port. Of the ports where several switches see a device, it
is the one where the least else is seen; a port with many devices behind it
leads to another switch.`,
		Args: []Arg{{Name: "SET", Optional: true, Complete: completeDeviceSet}},
		Run:  deviceRescan,
	}, {
		Path: "device tree", Short: "draw which device is connected to which port", Topic: "power",
		Run: deviceTree,
	}}
}

var settingArg = Arg{Name: "KEY=VALUE", Optional: true, Many: true, Complete: completeSetting}

func completeSetting(_ context.Context, _ *Call, _ string) (words []string) {
	for _, key := range nodes.SettingKeys() {
		words = append(words, key+"=")
	}
	return words
}

// secretive matches the beginning of what may hold a secret, also where a key
// is a little wrong.
var secretive = regexp.MustCompile(`(?i)([\w.-]*(comm?un|pass)[\w.-]*=).*`)

// Conceal returns a command line without the secrets that it may hold, and what
// follows them.
func Conceal(line string) string { return secretive.ReplaceAllString(line, "$1(not shown)") }

func (c *Call) config(ctx context.Context, nodesOnly bool) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		all, err := c.Lab.Settings(ctx, c.User, set, nodesOnly)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{string(s.Device), s.Key, s.Value})
		}
		c.rows([]string{"NAME", "SETTING", "VALUE"}, rows)
		return nil
	}
	want, err := nodes.ParseAssignments(c.args[1:])
	if err != nil {
		return err
	}
	var done []nodes.Name
	err = c.consented(ctx, "Configure", func(given consent.Given) error {
		done, err = c.Lab.Configure(ctx, c.User, set, nodesOnly, want, given)
		return err
	})
	if err != nil {
		return err
	}
	for _, n := range done {
		fmt.Fprintf(c.Out, "%s is configured\n", n)
	}
	return nil
}

func deviceRescan(ctx context.Context, c *Call) error {
	expression := c.arg(0)
	if expression == "" {
		expression = "explorable-switches"
	}
	set, err := nodes.ParseSet(expression)
	if err != nil {
		return err
	}
	told, links, err := c.Lab.Rescan(ctx, c.User, set)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.To.Switch == "" {
			fmt.Fprintf(c.Out, "%s is no longer connected to its port\n", l.Device)
			continue
		}
		fmt.Fprintf(c.Out, "%s is connected to port %d of %s\n", l.Device, l.To.Number, l.Switch)
	}
	var failed []string
	for _, e := range told {
		if f := fault.As(e.Err); f != nil {
			failed = append(failed, f.Msg)
		} else if e.Err != nil {
			return e.Err
		} else {
			c.note("%s sees %s, %d of them of no device here.", e.Switch, counted(e.Seen, "MAC address", "MAC addresses"), e.Strange)
		}
	}
	if len(failed) > 0 {
		return fault.Failedf("not asked: %s", strings.Join(failed, "; ")).WithHint("what the others told is noted; see: help show power")
	}
	return nil
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func deviceTree(ctx context.Context, c *Call) error {
	all, err := c.Lab.AllDevices(ctx)
	if err != nil {
		return err
	}
	t := tree{below: map[ethernet.MAC]nodes.Nodes{}, drawn: map[nodes.Name]bool{}}
	for _, d := range all {
		t.below[d.Port.Switch] = append(t.below[d.Port.Switch], d) // under "" those of no known port
	}
	for _, d := range t.below[""] {
		if d.Kind == nodes.Switch {
			t.draw(c, d, "", "", "")
		}
	}
	for _, d := range all { // switches that are connected in a circle
		if d.Kind == nodes.Switch && !t.drawn[d.Name] {
			t.draw(c, d, "", "", "")
		}
	}
	var loose []nodes.NodeState
	for _, d := range all {
		if !t.drawn[d.Name] && !d.Virtual() {
			loose = append(loose, d)
		}
	}
	if len(loose) > 0 {
		fmt.Fprintln(c.Out, "on no known port")
	}
	for i, d := range loose {
		t.draw(c, d, branch(i, len(loose)), "", "")
	}
	if len(t.drawn) == 0 {
		c.note("There is no device on a port. Add a switch with: device add NAME --mac MAC, then device config NAME type=switch (see: help show power)")
	}
	return nil
}

// tree is what is connected to the ports of each switch.
type tree struct {
	below map[ethernet.MAC]nodes.Nodes
	drawn map[nodes.Name]bool
}

// draw writes a device and what is connected to it; indent stands before the latter.
func (t tree) draw(c *Call, d nodes.NodeState, before, port, indent string) {
	t.drawn[d.Name] = true
	fmt.Fprintf(c.Out, "%s%s%s (%s, %s)\n", before, port, d.Name, d.Kind, d.State)
	if d.Kind != nodes.Switch {
		return
	}
	var below nodes.Nodes
	for _, b := range t.below[d.MAC] {
		if !t.drawn[b.Name] {
			below = append(below, b)
		}
	}
	byPort(below)
	for i, b := range below {
		more := "│  "
		if i == len(below)-1 {
			more = "   "
		}
		t.draw(c, b, indent+branch(i, len(below)), fmt.Sprintf("%d: ", b.Port.Number), indent+more)
	}
}

func branch(i, n int) string {
	if i == n-1 {
		return "└─ "
	}
	return "├─ "
}

func byPort(ds nodes.Nodes) {
	slices.SortStableFunc(ds, func(a, b nodes.NodeState) int { return cmp.Compare(a.Port.Number, b.Port.Number) })
}
