package commands

import (
	"context"
	"slices"
	"time"
	"unique"

	"walt/api"
	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func nodeShow(ctx context.Context, c *Call) error {
	found, narrowed, err := c.which(ctx)
	if err != nil {
		return err
	}
	found = found.OwnFirst(c.User)
	switch none := found.Len() == 0; {
	case c.on("json") && c.showsOne():
		return listed(c, "nodes", nil, found.Each(ctx), func(n *nodes.DeviceStatus) api.Node {
			doc := api.NewNode(n)
			doc.Boot = api.NewBoot(c.Lab.Trail(n.Name), api.NewSerial(c.Lab.SerialState(*n.Device)))
			return doc
		})
	case c.on("json"):
		return listed(c, "nodes", nil, found.Each(ctx), api.NewNode)
	case c.on("names-only"):
		return c.nodeNames(nil, found)
	case none && narrowed:
		c.note("There is no such node. See all with: node show --all")
		return nil
	case none && !c.on("all"):
		c.note("You have no nodes. Take one with: node acquire SET; see all with: node show --all")
		return nil
	case none:
		c.note("There are no nodes yet. Add one with: device add NAME --mac MAC --model MODEL, or node create NAME")
		return nil
	}
	heading, cells := []string{"NAME", "OWNER", "MODEL", "TYPE", "STATE", "IMAGE", "SINCE"}, c.nodeCells(c.Now())
	if found.Says(func(r *nodes.Remarks) bool { return !r.Until.IsZero() || r.Tied }) {
		heading, cells = append(heading, "UNTIL"), c.withUntil(cells)
	}
	if found.Says(func(r *nodes.Remarks) bool { return r.Note != "" }) {
		heading, cells = append(heading, noteColumn), withNote(cells)
	}
	glances := found.Glances(ctx)
	why, err := nodesTable(c, heading, nil, glances, glances, cells)
	if err != nil {
		return err
	}
	if c.showsOne() && found.Len() == 1 {
		one, err := found.Now(ctx)
		if err != nil || len(one) == 0 { // it is gone by now
			return err
		}
		return c.nodeDetail(ctx, one[0])
	}
	why.tell(c)
	return nil
}

// nodeCells returns what appends the cells of a node.
func (c *Call) nodeCells(now time.Time) func([]string, *nodes.Glance) []string {
	since, same := ages(now), c.sameCells()
	return func(row []string, n *nodes.Glance) []string {
		cells := same(n.Traits)
		return append(row, string(n.Name), cells.owner, cells.model, cells.of, stateCell(n.State, cells.retired), cells.image, since(n.Since))
	}
}

// withUntil appends to the cells of a node when its hold ends.
func (c *Call) withUntil(cells func([]string, *nodes.Glance) []string) func([]string, *nodes.Glance) []string {
	return func(row []string, n *nodes.Glance) []string {
		until := ""
		if n.Said != nil {
			until = c.instant(n.Said.Until)
			if until == "" && n.Said.Tied {
				until = "while connected"
			}
		}
		return append(cells(row, n), until)
	}
}

// withNote appends to the cells of a node what its owner notes of it.
func withNote(cells func([]string, *nodes.Glance) []string) func([]string, *nodes.Glance) []string {
	return func(row []string, n *nodes.Glance) []string {
		note := ""
		if n.Said != nil {
			note = n.Said.Note
		}
		return append(cells(row, n), note)
	}
}

// traitCells are the cells of a node that others with its traits have, too.
type traitCells struct {
	owner, model, of, image string
	retired                 bool
}

// sameCells returns what makes these cells, and keeps some.
func (c *Call) sameCells() func(unique.Handle[nodes.Traits]) *traitCells {
	const most = 1000
	made := map[unique.Handle[nodes.Traits]]*traitCells{}
	return func(traits unique.Handle[nodes.Traits]) *traitCells {
		cells := made[traits]
		if cells == nil {
			if len(made) == most {
				clear(made)
			}
			d := traits.Value().Device()
			cells = &traitCells{owner: string(d.Owner()), model: string(d.Model), of: api.NodeType(&d), retired: traits.Value().Retired}
			switch {
			case d.Owner() == c.User:
				cells.owner, cells.image = "you", d.Image.Short()
			case !d.Free():
				cells.image = "walt:" + d.Image.String()
			case d.Image.IsDefault(d.Model):
				cells.owner, cells.image = "(free)", "default"
			default: // a newer version, which it tries
				cells.owner, cells.image = "(free)", d.Image.Short()
			}
			made[traits] = cells
		}
		return cells
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
func (c *Call) which(ctx context.Context) (found nodes.List, narrowed bool, err error) {
	if c.given("owner") && c.on("free") {
		return found, true, c.withUsage(fault.Usagef("node show: --free or --owner USER, not both: what is free is nobody's"))
	}
	tests, err := c.tests(ctx)
	if err != nil {
		return found, false, err
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
	if err != nil || len(tests) == 0 {
		return found, false, err
	}
	found, err = found.Where(ctx, func(n *nodes.Glance) bool {
		return !slices.ContainsFunc(tests, func(test func(*nodes.Glance) bool) bool { return !test(n) })
	})
	return found, true, err
}

// tests returns what a node has to pass that whichFlags mean.
func (c *Call) tests(ctx context.Context) (tests []func(*nodes.Glance) bool, err error) {
	owner := func(n *nodes.Glance) string { return string(n.Traits.Value().Image.User) }
	if c.on("free") {
		tests = append(tests, func(n *nodes.Glance) bool { return owner(n) == string(auth.Nobody) })
	}
	for _, f := range []struct {
		option, hint string
		known        func(context.Context) ([]string, error)
		value        func(*nodes.Glance) string
	}{
		{"model", "see the models with: node show --all", c.knownModels, func(n *nodes.Glance) string { return string(n.Traits.Value().Model) }},
		{"state", "see what the states are with: help show power", knownStates, func(n *nodes.Glance) string { return string(n.State) }},
		{"owner", "see all users with: user show; free nodes with: node show --free; your own with: node show", c.knownUsers, owner},
	} {
		if !c.given(f.option) {
			continue
		}
		known, err := f.known(ctx)
		if err != nil {
			return nil, err
		}
		chosen, err := choices(f.option, c.option(f.option), known, f.hint)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(n *nodes.Glance) bool { return slices.Contains(chosen, f.value(n)) })
	}
	return tests, nil
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
