package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/ethernet"
	"walt/fault"
	"walt/nodes"
)

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
			c.note("%s sees %s, %d of them of no device here.", e.Switch, count(e.Seen, "MAC address"), e.Strange)
		}
	}
	if len(failed) > 0 {
		return fault.Failedf("not asked: %s", strings.Join(failed, "; ")).WithHint("what the others told is noted; see: help show power")
	}
	return nil
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
