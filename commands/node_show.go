package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/api"
	"walt/fault"
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
	if c.showsOne() && len(all) == 1 {
		return c.nodeDetail(ctx, all[0])
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

// whichFlags are the options of node show that say which nodes are meant. Several
// of them keep the nodes that all of them mean.
var whichFlags = []Flag{
	{Name: "model", Value: "MODEL", Usage: "only nodes of this model", Complete: completeModel},
	{Name: "state", Value: "STATE", Usage: "only nodes in this state", Complete: completeState},
	{Name: "owner", Value: "USER", Usage: "only nodes of this user", Complete: completeUser},
	{Name: "free", Usage: "only nodes of nobody"},
}

// which returns the nodes that a line asks for: those of a set; without one the
// user's own, or all when an option says whose. narrowed says that options left
// some out, or could have.
func (c *Call) which(ctx context.Context) (found []nodes.DeviceStatus, narrowed bool, err error) {
	if c.given("owner") && c.on("free") {
		return nil, true, c.withUsage(fault.Usagef("node show: --free or --owner USER, not both: what is free is nobody's"))
	}
	filter, narrowed, err := c.filter(ctx)
	if err != nil {
		return nil, narrowed, err
	}
	switch {
	case c.arg(0) != "":
		var set nodes.Set
		if set, err = nodes.ParseSet(c.arg(0)); err == nil {
			found, err = c.Lab.Show(ctx, c.User, set)
		}
	case c.on("all") || c.given("owner") || c.on("free"):
		found, err = c.Lab.All(ctx)
	default:
		found, err = c.Lab.Mine(ctx, c.User)
	}
	return slices.DeleteFunc(found, func(n nodes.DeviceStatus) bool { return !filter(n) }), narrowed, err
}

// filter returns which nodes whichFlags mean, and whether any were given.
func (c *Call) filter(ctx context.Context) (wanted func(nodes.DeviceStatus) bool, given bool, err error) {
	tests := []func(nodes.DeviceStatus) bool{}
	if c.on("free") {
		tests = append(tests, func(n nodes.DeviceStatus) bool { return n.Free() })
	}
	for _, f := range []struct {
		option, hint string
		known        func(context.Context) ([]string, error)
		value        func(nodes.DeviceStatus) string
	}{
		{"model", "see the models with: node show --all", c.knownModels, func(n nodes.DeviceStatus) string { return string(n.Model) }},
		{"state", "see what the states are with: help show power", knownStates, func(n nodes.DeviceStatus) string { return string(n.State) }},
		{"owner", "see all users with: user show; free nodes with: node show --free; your own with: node show", c.knownUsers, func(n nodes.DeviceStatus) string { return string(n.Owner()) }},
	} {
		if !c.given(f.option) {
			continue
		}
		known, err := f.known(ctx)
		if err != nil {
			return nil, true, err
		}
		chosen, err := choices(f.option, c.option(f.option), known, f.hint)
		if err != nil {
			return nil, true, err
		}
		tests = append(tests, func(n nodes.DeviceStatus) bool { return slices.Contains(chosen, f.value(n)) })
	}
	return func(n nodes.DeviceStatus) bool {
		return !slices.ContainsFunc(tests, func(test func(nodes.DeviceStatus) bool) bool { return !test(n) })
	}, len(tests) > 0, nil
}

func (c *Call) knownModels(ctx context.Context) ([]string, error) {
	models, err := c.Lab.Models(ctx)
	return images.ModelNames(models), err
}

func knownStates(context.Context) (names []string, _ error) {
	for _, s := range nodes.States() {
		names = append(names, string(s))
	}
	return names, nil
}

func (c *Call) knownUsers(ctx context.Context) ([]string, error) {
	users, err := c.Users.List(ctx)
	var names []string
	for _, u := range users {
		names = append(names, string(u.Name))
	}
	return names, err
}

func completeState(ctx context.Context, _ *Call, _ string) []string {
	names, _ := knownStates(ctx) // there is no error
	return names
}
