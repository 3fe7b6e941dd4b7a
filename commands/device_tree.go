package commands

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
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
		if l.To.IsZero() {
			c.say("%s is no longer connected to its port", l.Device)
			continue
		}
		c.say("%s is connected to %s", l.Device, l.Where)
	}
	var moved []nodes.Name
	for _, l := range links {
		moved = append(moved, nodes.Name(l.Device))
	}
	if err := c.noteDue(ctx, moved); err != nil {
		return err
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
	found, err := c.Lab.AllDevices(ctx)
	if err != nil {
		return err
	}
	t := tree{out: bufio.NewWriterSize(c.Out, bufferSize), below: map[ethernet.MAC][]nodes.DeviceStatus{}, drawn: map[nodes.Name]bool{}}
	var switches []nodes.DeviceStatus
	for d, err := range found.Each(ctx) {
		if err != nil {
			return err
		}
		if !d.Port.IsZero() {
			t.below[d.Port.Switch] = append(t.below[d.Port.Switch], *d)
		}
		if d.Kind == nodes.Switch {
			switches = append(switches, *d)
		}
	}
	for _, connected := range []bool{false, true} { // those that are left then are connected in a circle
		for _, d := range switches {
			if connected != d.Port.IsZero() && !t.drawn[d.Name] {
				if err := t.draw(ctx, d, "", ""); err != nil {
					return err
				}
			}
		}
	}
	loose, err := t.loose(found.Each(ctx))
	if err != nil {
		return err
	}
	if !loose && len(t.drawn) == 0 {
		c.note("There is no device on a port. Add a switch with: device add NAME --mac MAC, then device config NAME type=switch (see: help show power)")
	}
	return t.out.Flush()
}

// tree is what is connected to the ports of each switch.
type tree struct {
	out   *bufio.Writer
	below map[ethernet.MAC][]nodes.DeviceStatus
	drawn map[nodes.Name]bool
}

// draw writes a device and what is connected to it; indent stands before the latter.
func (t tree) draw(ctx context.Context, d nodes.DeviceStatus, before, indent string) error {
	t.drawn[d.Name] = true
	if _, err := t.out.WriteString(before + twig(&d)); err != nil || d.Kind != nodes.Switch {
		return err
	}
	var below []nodes.DeviceStatus
	for _, b := range t.below[d.MAC] {
		if !t.drawn[b.Name] {
			below = append(below, b)
		}
	}
	byPort(below)
	for i, b := range below {
		more, last := "│  ", i == len(below)-1
		if last {
			more = "   "
		}
		if err := t.draw(ctx, b, indent+branch(last)+portLabel(b.Port.Number, &b.PortName)+": ", indent+more); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// loose writes the devices that were not drawn, and reports whether there are any.
func (t tree) loose(found iter.Seq2[*nodes.DeviceStatus, error]) (any bool, err error) {
	waits := "" // until it is known whether another one follows
	for d, err := range found {
		switch {
		case err != nil:
			return any, err
		case t.drawn[d.Name] || d.Virtual():
			continue
		case any:
			_, err = t.out.WriteString(branch(false) + waits)
		default:
			_, err = t.out.WriteString("on no known port\n")
		}
		if err != nil {
			return any, err
		}
		any, waits = true, twig(d)
	}
	if any {
		_, err = t.out.WriteString(branch(true) + waits)
	}
	return any, err
}

// twig is the line of a device.
func twig(d *nodes.DeviceStatus) string {
	return string(d.Name) + " (" + string(d.Kind) + ", " + string(d.State) + ")\n"
}

// portLabel is the number of a port and what its switch calls it, if that is known.
func portLabel(number int, name *string) string {
	if name == nil || *name == "" {
		return strconv.Itoa(number)
	}
	return fmt.Sprintf("%d (%s)", number, *name)
}

func branch(last bool) string {
	if last {
		return "└─ "
	}
	return "├─ "
}

func byPort(ds []nodes.DeviceStatus) {
	slices.SortStableFunc(ds, func(a, b nodes.DeviceStatus) int { return cmp.Compare(a.Port.Number, b.Port.Number) })
}
