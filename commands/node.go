package commands

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"walt/api"
	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

var setArg = Arg{Name: "SET", Complete: completeSet}

// nodeCommands show nodes and change whose they are.
func nodeCommands() []Command {
	change := []Flag{yesFlag, noInputFlag, jsonFlag}
	return []Command{{
		Path: "node show", Short: "show your nodes, or all", Topic: "node-ownership",
		Long: `Shows the nodes that boot your images. With --all, the free nodes and those of
others follow; the image of a node of somebody else is shown as a link that
"image clone" takes.`,
		Flags: []Flag{{Name: "all", Short: "a", Usage: "show those of others and free ones too"}, namesFlag, jsonFlag},
		Run:   nodeShow,
	}, {
		Path: "node acquire", Short: "take nodes", Topic: "node-ownership",
		Long: `Makes nodes yours: your clone of their default image is made, unless you have
one, and they reboot on it. Nodes of others are taken only after you confirmed
it. All nodes of the set are taken, or none. --any takes free nodes only,
whichever; when too few are free it ends with status 3.`,
		Args: []Arg{{Name: "SET", Optional: true, Complete: completeSet}},
		Flags: append([]Flag{
			{Name: "any", Value: "N", Usage: "take N free nodes, instead of a set"},
			{Name: "model", Value: "MODEL", Usage: "with --any: of this model", Complete: completeModel},
		}, change...),
		Run: nodeAcquire,
	}, {
		Path: "node release", Short: "give nodes back", Topic: "node-ownership",
		Long: `Makes nodes of yours free: they reboot on their default image. The images that
they booted stay in your working set. "node release my-nodes" is fine when you
have none.`,
		Args: []Arg{setArg}, Flags: change,
		Run: func(ctx context.Context, c *Call) error {
			return c.changed(ctx, "Release", func(set nodes.Set, _ consent.Given) (nodes.Result, error) {
				return c.Lab.Release(ctx, auth.Actor(c.User), set)
			})
		},
	}, {
		Path: "node boot", Short: "make nodes boot an image of yours", Topic: "node-ownership",
		Long: `The nodes reboot on an image of your working set, and so are yours; or on their
default image, with the word "default", and so are free. Nodes of others are
taken only after you confirmed it.`,
		Args:  []Arg{setArg, {Name: "IMAGE", Complete: completeBootable}},
		Flags: change,
		Run: func(ctx context.Context, c *Call) error {
			verb := "Take"
			if c.arg(1) == "default" {
				verb = "Free"
			} else if err := c.lookUp(ctx, c.arg(1)); err != nil {
				return err
			}
			return c.changed(ctx, verb, func(set nodes.Set, given consent.Given) (nodes.Result, error) {
				return c.Lab.SetImage(ctx, auth.Actor(c.User), set, c.arg(1), given)
			})
		},
	}}
}

// lookUp checks the name of an image of the user, and makes the first images of
// a user who never looked at one.
func (c *Call) lookUp(ctx context.Context, name string) error {
	if _, err := images.ParseName(c.User, name); err != nil {
		return err
	}
	_, err := c.workingSet(ctx)
	return err
}

func nodeShow(ctx context.Context, c *Call) error {
	find := c.Lab.All
	if !c.on("all") {
		find = func(ctx context.Context) (nodes.Nodes, error) { return c.Lab.Mine(ctx, c.User) }
	}
	all, err := find(ctx)
	if err != nil {
		return err
	}
	shown := c.arrange(all)
	switch {
	case c.on("json"):
		return c.print(api.NewNodes(shown))
	case c.on("names-only"):
		out := bufio.NewWriter(c.Out)
		for _, n := range shown {
			fmt.Fprintln(out, n.Name)
		}
		return out.Flush()
	case len(all) == 0 && !c.on("all"):
		c.note("You have no nodes. Take one with: node acquire SET; see all with: node show --all")
		return nil
	case len(all) == 0:
		c.note("There are no nodes yet. Add one with: device add NAME --mac MAC --model MODEL, or node create NAME")
		return nil
	}
	c.showNodes(shown)
	for _, n := range shown {
		if n.State == nodes.Unreachable && n.Why != "" {
			c.note("%s is unreachable: %s.", n.Name, n.Why)
		}
	}
	return nil
}

// arrange puts the user's nodes first, then the free ones, then those of others.
func (c *Call) arrange(all nodes.Nodes) []*nodes.NodeState {
	mine, free, others := []*nodes.NodeState{}, []*nodes.NodeState{}, []*nodes.NodeState{}
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
func (c *Call) showNodes(shown []*nodes.NodeState) {
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

func nodeAcquire(ctx context.Context, c *Call) error {
	if !c.given("any") {
		if c.given("model") {
			return c.misused(fault.Usagef("node acquire: --model goes with --any"))
		}
		if c.arg(0) == "" {
			return c.misused(fault.Usagef("node acquire: SET is missing"))
		}
		return c.changed(ctx, "Take", func(set nodes.Set, given consent.Given) (nodes.Result, error) {
			return c.Lab.Acquire(ctx, c.User, set, given)
		})
	}
	if c.arg(0) != "" {
		return c.misused(fault.Usagef("node acquire: a SET or --any N, not both"))
	}
	n, err := c.number("--any", c.option("any"))
	if err != nil {
		return err
	}
	model := images.Model("")
	if c.given("model") {
		if model, err = images.ParseModel(c.option("model")); err != nil {
			return err
		}
	}
	result, err := c.Lab.AcquireAny(ctx, c.User, n, model)
	if err != nil {
		return err
	}
	return c.showResult(result)
}

// changed runs a change of the set that is the first argument, and shows what
// came of it.
func (c *Call) changed(ctx context.Context, verb string, do func(nodes.Set, consent.Given) (nodes.Result, error)) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var result nodes.Result
	err = c.consented(ctx, verb, func(given consent.Given) error {
		result, err = do(set, given)
		return err
	})
	if err != nil {
		return err
	}
	return c.showResult(result)
}

// showResult tells what became of each node. It fails when a reboot failed: the
// nodes have changed hands all the same.
func (c *Call) showResult(r nodes.Result) error {
	if c.on("json") {
		if err := c.print(api.NewChanges(r)); err != nil {
			return err
		}
		return failedReboots(r.Changes)
	}
	for _, img := range r.Cloned {
		c.note("Cloned the default image into your working set as %s.", img.Ref.Short())
	}
	for _, k := range r.Kept {
		c.note("You already have an image %s; it is used unchanged. It differs from the default image; a fresh clone: image clone --force walt:%s %s",
			k.Image.Short(), k.Default, k.Image.Short())
	}
	if len(r.Changes) == 0 {
		c.note("You have no nodes; nothing to do.")
	}
	for _, ch := range r.Changes {
		fmt.Fprintf(c.Out, "%s %s\n", ch.Node, became(ch))
	}
	return failedReboots(r.Changes)
}

// became tells whose a node is now, what it boots and how its reboot went.
func became(ch nodes.Change) string {
	what := "is yours and boots " + ch.Image.Short()
	if ch.Image.User == auth.Nobody {
		what = "is free and boots its default image"
	}
	switch ch.Reboot.Outcome {
	case nodes.RebootOK:
		return what + ": rebooting"
	case nodes.RebootNone:
		return what + " at its next start: the server has no means to reboot it"
	case nodes.RebootSkipped:
		return what + " already: left alone"
	}
	return what + " at its next start: the reboot failed, " + ch.Reboot.Reason
}

// failedReboots is the fault for nodes whose reboot failed, nil without any.
func failedReboots(changes []nodes.Change) error {
	var failed, reasons []string
	why := map[string][]string{} // by reason
	for _, ch := range changes {
		if ch.Reboot.Outcome != nodes.RebootFailed {
			continue
		}
		reason := ch.Reboot.Reason
		if why[reason] == nil {
			reasons = append(reasons, reason)
		}
		failed = append(failed, string(ch.Node))
		why[reason] = append(why[reason], string(ch.Node))
	}
	if len(failed) == 0 {
		return nil
	}
	for i, reason := range reasons {
		reasons[i] = strings.Join(why[reason], ", ") + ": " + reason
	}
	return fault.Failedf("could not reboot %s", strings.Join(reasons, "; ")).
		WithHint("try again with: node reboot %s", strings.Join(failed, ","))
}
