package commands

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/api"
	"walt/nodes"
)

func nodeShow(ctx context.Context, c *Call) error {
	all, narrowed, err := c.which(ctx)
	if err != nil {
		return err
	}
	shown := c.ownFirst(all)
	switch {
	case c.on("json"):
		return c.print(api.NewNodes(shown))
	case c.on("names-only"):
		out := bufio.NewWriter(c.Out)
		for _, n := range shown {
			fmt.Fprintln(out, n.Name)
		}
		return out.Flush()
	case len(all) == 0 && narrowed:
		c.note("There is no such node. See all with: node show --all")
		return nil
	case len(all) == 0 && !c.on("all"):
		c.note("You have no nodes. Take one with: node acquire SET; see all with: node show --all")
		return nil
	case len(all) == 0:
		c.note("There are no nodes yet. Add one with: device add NAME --mac MAC --model MODEL, or node create NAME")
		return nil
	}
	c.showNodes(shown)
	c.noteWhy(all)
	return nil
}

// noteWhy tells why nodes do not answer, or could not boot.
func (c *Call) noteWhy(all []nodes.DeviceStatus) {
	for _, r := range nodes.Reasons(all, nodes.Unreachable) {
		verb := "is"
		if len(r.Nodes) > 1 {
			verb = "are"
		}
		c.note("%s %s unreachable: %s.", strings.Join(r.Nodes, ", "), verb, r.Why)
	}
	for _, r := range nodes.Reasons(all, nodes.Failed) {
		c.note("%s cannot boot: %s.", strings.Join(r.Nodes, ", "), r.Why)
	}
}

// ownFirst puts the user's nodes first, then the free ones, then those of others.
func (c *Call) ownFirst(all []nodes.DeviceStatus) []*nodes.DeviceStatus {
	mine, free, others := []*nodes.DeviceStatus{}, []*nodes.DeviceStatus{}, []*nodes.DeviceStatus{}
	for i := range all {
		switch n := &all[i]; {
		case n.Owner() == c.User:
			mine = append(mine, n)
		case n.Free():
			free = append(free, n)
		default:
			others = append(others, n)
		}
	}
	return slices.Concat(mine, free, others)
}

// showNodes draws the nodes as one table.
func (c *Call) showNodes(shown []*nodes.DeviceStatus) {
	now := c.Now()
	rows := make([][]string, len(shown))
	for i, n := range shown {
		owner, image := string(n.Owner()), ""
		switch {
		case n.Owner() == c.User:
			owner, image = "you", n.Image.Short()
		case n.Free():
			owner, image = "(free)", "default"
		default:
			image = "walt:" + n.Image.String()
		}
		rows[i] = []string{string(n.Name), owner, string(n.Model), api.NodeType(n.Device), string(n.State), image, ago(now, n.Since)}
	}
	c.rows([]string{"NAME", "OWNER", "MODEL", "TYPE", "STATE", "IMAGE", "SINCE"}, rows)
}
