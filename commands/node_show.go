package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/images"
	"walt/nodes"
)

func nodeShow(ctx context.Context, c *Call) error {
	all, narrowed, err := c.which(ctx)
	if err != nil {
		return err
	}
	shown, why := c.ownFirst(all), reasons(all)
	switch {
	case c.on("json"):
		return nodesList(ctx, c, "nodes", nil, shown, api.NewNode)
	case c.on("names-only"):
		return c.nodeNames(nil, shown)
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
	if err := c.nodesTable(ctx, []string{"NAME", "OWNER", "MODEL", "TYPE", "STATE", "IMAGE", "SINCE"}, nil, shown, c.nodeCells(c.Now())); err != nil {
		return err
	}
	c.notes(why)
	return nil
}

// reasons tells why nodes do not answer, or could not boot.
func reasons(all []nodes.DeviceStatus) (told []string) {
	for _, r := range nodes.Reasons(all, nodes.Unreachable) {
		verb := "is"
		if len(r.Nodes) > 1 {
			verb = "are"
		}
		told = append(told, fmt.Sprintf("%s %s unreachable: %s.", strings.Join(r.Nodes, ", "), verb, r.Why))
	}
	for _, r := range nodes.Reasons(all, nodes.Failed) {
		told = append(told, fmt.Sprintf("%s cannot boot: %s.", strings.Join(r.Nodes, ", "), r.Why))
	}
	return told
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

// nodeCells returns what makes a row of a node.
func (c *Call) nodeCells(now time.Time) func(*nodes.DeviceStatus) []string {
	return func(n *nodes.DeviceStatus) []string {
		owner, image := string(n.Owner()), ""
		switch {
		case n.Owner() == c.User:
			owner, image = "you", n.Image.Short()
		case n.Free():
			if owner, image = "(free)", "default"; n.Image != images.DefaultRef(n.Model) {
				image = n.Image.Short() // a newer version, which it tries
			}
		default:
			image = "walt:" + n.Image.String()
		}
		return []string{string(n.Name), owner, string(n.Model), api.NodeType(*n.Device), string(n.State), image, ago(now, n.Since)}
	}
}
