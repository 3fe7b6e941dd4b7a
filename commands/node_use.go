package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// nodeUseCommands work with nodes without changing whose they are.
func nodeUseCommands() []Command {
	asks := []Flag{yesFlag, noInputFlag}
	nameArg := Arg{Name: "NAME"}
	nodeArg := Arg{Name: "NODE", Complete: completeNode}
	return []Command{{
		Path: "node create", Short: "make a virtual node, which is yours at once", Topic: "node-ownership",
		Args:  []Arg{nameArg},
		Flags: []Flag{{Name: "model", Value: "MODEL", Usage: "its model (default " + string(virtualModel) + ")", Complete: completeModel}},
		Run:   nodeCreate,
	}, {
		Path: "node remove", Short: "remove virtual nodes",
		Args: []Arg{setArg}, Flags: asks,
		Run: func(ctx context.Context, c *Call) error { return c.drop(ctx, c.Lab.Remove, "removed") },
	}, {
		Path: "node rename", Short: "give a node another name",
		Long: "A virtual node starts anew under its new name.",
		Args: []Arg{{Name: "OLD", Complete: completeNode}, {Name: "NEW"}}, Flags: asks,
		Run: rename,
	}, {
		Path: "node reboot", Short: "restart nodes; whose they are stays",
		Args:  []Arg{setArg},
		Flags: append([]Flag{{Name: "hard", Usage: "cut the power at once instead of asking the node first"}}, asks...),
		Run:   nodeReboot,
	}, {
		Path: "node wait", Short: "wait until nodes are up",
		Long: `Waits until all nodes of the set have reported that they are up on the image
that they should boot.`,
		Args:  []Arg{setArg},
		Flags: []Flag{{Name: "timeout", Value: "D", Usage: "give up after this long, as in 90s or 5m"}},
		Run:   nodeWait,
	}, {
		Path: "node run", Short: "run a command on nodes", Passes: true,
		Long: `Runs the command on each node as root. With one node, standard input goes to it;
with several, each line of output begins with the name of its node. The status
is 1 when the command failed on any of them. Options go before SET.`,
		Args: []Arg{setArg, {Name: "COMMAND", Many: true}}, Flags: asks,
		Run: nodeRun,
	}, {
		Path: "node shell", Short: "open a shell on a node", Args: []Arg{nodeArg}, Flags: asks,
		Run: nodeShell,
	}}
}

// virtualModel is the model of virtual nodes unless told otherwise.
const virtualModel images.Model = "pc-x86-64"

func nodeCreate(ctx context.Context, c *Call) error {
	name, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	model := virtualModel
	if c.given("model") {
		if model, err = images.ParseModel(c.option("model")); err != nil {
			return err
		}
	}
	result, err := c.Lab.Create(ctx, c.User, name, model)
	if err != nil {
		return err
	}
	return c.showResult(result)
}

// drop removes the devices of the first argument.
func (c *Call) drop(ctx context.Context, do func(context.Context, auth.Name, nodes.Set, consent.Given) ([]nodes.Device, error), done string) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var gone []nodes.Device
	err = c.consented(ctx, "Remove", func(given consent.Given) error {
		gone, err = do(ctx, c.User, set, given)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range gone {
		fmt.Fprintf(c.Out, "%s %s\n", d.Name, done)
	}
	return nil
}

// rename gives the device that is the first argument the name of the second.
func rename(ctx context.Context, c *Call) error {
	old, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	name, err := nodes.ParseName(c.arg(1))
	if err != nil {
		return err
	}
	return c.consented(ctx, "Rename", func(given consent.Given) error {
		d, err := c.Lab.Rename(ctx, c.User, old, name, given)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s is now called %s\n", old, d.Name)
		return nil
	})
}

// reserve returns the nodes of the set that is the first argument, once the
// user agreed to disturb the owners of contested ones.
func (c *Call) reserve(ctx context.Context, verb string) (found nodes.Nodes, err error) {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return nil, err
	}
	err = c.consented(ctx, verb, func(given consent.Given) error {
		found, err = c.Lab.Reserve(ctx, c.User, set, given)
		return err
	})
	return found, err
}

func nodeReboot(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var done []nodes.Change
	err = c.consented(ctx, "Reboot", func(given consent.Given) error {
		return c.Lab.Reboot(ctx, c.User, set, c.on("hard"), given, func(ch nodes.Change) {
			if done = append(done, ch); ch.Reboot.Outcome == nodes.RebootOK {
				fmt.Fprintf(c.Out, "%s is rebooting\n", ch.Node)
			}
		})
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(done, func(a, b nodes.Change) int { return nodes.Naturally(a.Node, b.Node) })
	var cannot []string
	for _, ch := range done {
		if ch.Reboot.Outcome == nodes.RebootNone {
			cannot = append(cannot, string(ch.Node))
		}
	}
	failed := failedReboots(done)
	if len(cannot) == 0 {
		return failed
	}
	f := fault.Failedf("the server has no means to reboot %s", strings.Join(cannot, ", ")).
		WithHint("switch it off and on by hand: a node boots its image at every start")
	if also := fault.As(failed); also != nil {
		f.Msg += "; " + also.Msg
	}
	return f
}

func nodeWait(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	wanted, err := c.Lab.Show(ctx, c.User, set)
	if err != nil {
		return err
	}
	if wanted, err = c.awake(ctx, wanted, false); err != nil {
		return err
	}
	waiting := ctx
	if c.given("timeout") {
		d, err := duration("--timeout", c.option("timeout"))
		if err != nil {
			return err
		}
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	show, end := c.waitingFor()
	missing, err := c.Lab.Wait(waiting, wanted, show)
	end()
	switch {
	case err == nil:
		for _, n := range wanted {
			fmt.Fprintf(c.Out, "%s is up\n", n.Name)
		}
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fault.Failedf("not up after %s: %s", c.option("timeout"), describe(missing)).
			WithHint("see what they are doing with: node show --all")
	}
	return err
}

// waitingFor shows, until end is called, what is waited for: on a terminal a
// line that changes, without one a line for each node less.
func (c *Call) waitingFor() (show func(nodes.Nodes), end func()) {
	if c.Terminal != nil {
		return func(missing nodes.Nodes) { fmt.Fprintf(c.Err, "\r\x1b[KWaiting for %s ...", describe(missing)) },
			func() { fmt.Fprint(c.Err, "\r\x1b[K") }
	}
	last := 0
	return func(missing nodes.Nodes) {
		if len(missing) != last {
			c.note("Waiting for %s.", describe(missing))
		}
		last = len(missing)
	}, func() {}
}

// describe lists nodes with their states, the first few of many.
func describe(some nodes.Nodes) string {
	const most = 5
	var words []string
	for _, n := range some[:min(most, len(some))] {
		words = append(words, fmt.Sprintf("%s (%s)", n.Name, n.State))
	}
	if len(some) > most {
		words = append(words, fmt.Sprintf("and %d more", len(some)-most))
	}
	return strings.Join(words, ", ")
}
