package commands

import (
	"context"
	"fmt"
	"io"
	"slices"

	"walt/api"
	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

func nodeAcquire(ctx context.Context, c *Call) error {
	remarks, err := c.remarks()
	if err != nil {
		return err
	}
	if c.given("timeout") && !c.on("wait") {
		return c.withUsage(fault.Usagef("node acquire: --timeout goes with --wait"))
	}
	if !c.given("any") {
		if c.given("model") {
			return c.withUsage(fault.Usagef("node acquire: --model goes with --any"))
		}
		if c.arg(0) == "" {
			return c.withUsage(fault.Usagef("node acquire: SET is missing"))
		}
		if c.on("wait") {
			set, err := nodes.ParseSet(c.arg(0))
			if err != nil {
				return err
			}
			return c.acquireWaiting(ctx, nodes.Want{Set: set, Remarks: remarks})
		}
		return c.change(ctx, "Take", func(set nodes.Set, given consent.Agreement) (nodes.Result, error) {
			return c.Lab.Acquire(ctx, c.User, set, remarks, given)
		})
	}
	some, err := c.some()
	if err != nil {
		return err
	}
	if c.on("wait") {
		return c.acquireWaiting(ctx, nodes.Want{Some: some, Remarks: remarks})
	}
	end := c.showPending()
	result, err := c.Lab.AcquireAny(ctx, c.User, some, remarks)
	end()
	if err != nil {
		return err
	}
	return c.showResult(ctx, result)
}

// some returns which free nodes --any asks for.
func (c *Call) some() (some nodes.Some, err error) {
	if some.N, err = c.number("--any", c.option("any")); err != nil {
		return some, err
	}
	if c.given("model") {
		if some.Model, err = images.ParseModel(c.option("model")); err != nil {
			return some, err
		}
	}
	if c.arg(0) != "" {
		some.Set, err = nodes.ParseSet(c.arg(0))
	}
	return some, err
}

// remarkFlags are what commands that make nodes the user's have others know of them.
var remarkFlags = []Flag{
	{Name: "for", Value: "D", Usage: "the server releases them after this long, as in 2h"},
	{Name: "until", Value: "T", Usage: "the server releases them then, as at 18:00, or never"},
	{Name: "while-connected", Usage: "the server releases them when you disconnect"},
	{Name: "job", Value: "ID", Usage: "for this job, as a run of CI: job:ID is the set of them"},
	{Name: "note", Value: "WORD", Usage: "with a note for others; of several words by \"node note\""},
}

// remarks returns what remarkFlags say.
func (c *Call) remarks() (r nodes.Remarks, err error) {
	if c.given("job") {
		if r.Job, err = nodes.ParseJob(c.option("job")); err != nil {
			return r, err
		}
	}
	if r.Note, err = nodes.ParseNote(c.option("note")); err != nil {
		return r, err
	}
	r.Tied = c.on("while-connected")
	r.End, err = c.end()
	return r, err
}

func nodeRelease(ctx context.Context, c *Call) error {
	return c.change(ctx, "Release", func(set nodes.Set, _ consent.Agreement) (nodes.Result, error) {
		return c.Lab.Release(ctx, c.User.Actor(), set)
	})
}

func nodeBoot(ctx context.Context, c *Call) error {
	remarks, err := c.remarks()
	if err != nil {
		return err
	}
	verb := "Take"
	if c.arg(1) == "default" {
		verb = "Free"
		for _, f := range remarkFlags {
			if c.given(f.Name) {
				return c.withUsage(fault.Usagef("node boot: --%s goes with an image of yours: a free node is nobody's", f.Name))
			}
		}
	} else if err := c.checkImage(ctx, c.arg(1)); err != nil {
		return err
	}
	return c.change(ctx, verb, func(set nodes.Set, given consent.Agreement) (nodes.Result, error) {
		return c.Lab.SetImage(ctx, c.User.Actor(), set, c.arg(1), remarks, given)
	})
}

// checkImage checks the name of an image of the user, and makes the first images
// of a user who never looked at one.
func (c *Call) checkImage(ctx context.Context, name string) error {
	if _, err := images.ParseOwn(c.User, name); err != nil {
		return err
	}
	return c.seed(ctx)
}

// change runs a change of the set that is the first argument, and shows what
// came of it.
func (c *Call) change(ctx context.Context, verb string, do func(nodes.Set, consent.Agreement) (nodes.Result, error)) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	var result nodes.Result
	err = c.withConsent(ctx, verb, func(given consent.Agreement) error {
		result, err = do(set, given)
		return err
	})
	if err != nil {
		return err
	}
	return c.showResult(ctx, result)
}

// showResult tells what became of each node. It fails when a reboot failed: the
// nodes have changed hands all the same.
func (c *Call) showResult(ctx context.Context, r nodes.Result) error {
	return c.whileConnected(ctx, r, func() error { return c.tellResult(ctx, r) })
}

// tellResult is showResult, and ends at once.
func (c *Call) tellResult(ctx context.Context, r nodes.Result) error {
	c.warnUnfitNodes(r.Changes)
	c.warnRetired(r.Changes)
	c.warnPartly(r.Changes)
	if c.on("json") {
		if err := c.print(api.NewChanges(r)); err != nil {
			return err
		}
		return failedReboots(r.Changes, false)
	}
	for _, img := range r.Cloned {
		if img.Ref.User != c.User {
			continue
		}
		c.note("Cloned the default image into your working set as %s.", img.Ref.Short())
	}
	for _, k := range r.Kept {
		c.note("You already have an image %s; it is used unchanged. It differs from the default image.", k.Image.Short())
		c.note("A fresh clone: image clone --force walt:%s %s", k.Default, k.Image.Short())
	}
	for _, n := range r.Unreachable {
		c.note("%s did not answer, or could not boot, before it was taken: no other node that would do was free.", n)
	}
	if len(r.Changes) == 0 {
		c.note("You have no nodes; nothing to do.")
	}
	if c.on("names-only") {
		c.lines(func(w io.Writer) {
			for _, ch := range r.Changes {
				fmt.Fprintln(w, ch.Node)
			}
		})
		return failedReboots(r.Changes, false)
	}
	c.showChanges(r.Changes, c.describeChange)
	c.noteRousing(r.Changes)
	if err := c.noteShared(ctx, r.Changes); err != nil {
		return err
	}
	return failedReboots(r.Changes, false)
}

// warnPartly tells which nodes have power, but not from all of their outlets.
func (c *Call) warnPartly(changes []nodes.Change) {
	var names, why []string
	for _, ch := range changes {
		if ch.Reboot.Partly == "" {
			continue
		}
		names = append(names, string(ch.Node))
		if !slices.Contains(why, ch.Reboot.Partly) {
			why = append(why, ch.Reboot.Partly)
		}
	}
	if len(names) > 0 {
		c.note("Not all outlets give %s power (%s); others do. See: power show", fault.Few(names), fault.Few(why))
	}
}

// noteShared tells with which others nodes share outlets that were not rebooted for that.
func (c *Call) noteShared(ctx context.Context, changes []nodes.Change) error {
	var names []nodes.Name
	for _, ch := range changes {
		if ch.Reboot.Outcome == nodes.RebootNone && ch.Next == "" {
			names = append(names, ch.Node)
		}
	}
	if len(names) == 0 {
		return nil
	}
	fed, err := c.Lab.FedWith(ctx, names)
	for _, f := range fed[:min(len(fed), manyLines)] {
		c.note("%s feeds %s, too; cut it for all with: node reboot %s --hard", f.Shared, fault.Few(f.Others), f.Node)
	}
	return err
}

// describes words a change of a node, or of each of several.
type describes func(ch nodes.Change, several bool) string

// showChanges tells what became of nodes.
func (c *Call) showChanges(changes []nodes.Change, describe describes) {
	for _, some := range alike(changes, describe) {
		c.say("%s %s", fault.Few(some.nodes), describe(some.change, len(some.nodes) > 1))
	}
}

// manyLines is how many nodes have a line each; of more, those of which the same is
// to be said share one.
const manyLines = 20

// changed is a change and the nodes that it was made to.
type changed struct {
	change nodes.Change
	nodes  []string
}

// alike returns the changes that are shown, in the order of the first node of each.
func alike(changes []nodes.Change, describe describes) (all []*changed) {
	if len(changes) <= manyLines {
		for _, ch := range changes {
			all = append(all, &changed{ch, []string{string(ch.Node)}})
		}
		return all
	}
	same := map[string]*changed{}
	for _, ch := range changes {
		what := describe(ch, false)
		if same[what] == nil {
			same[what] = &changed{change: ch}
			all = append(all, same[what])
		}
		same[what].nodes = append(same[what].nodes, string(ch.Node))
	}
	return all
}

// describeChange tells whose a node, or each of several, is now, what it boots and
// how its reboot went.
func (c *Call) describeChange(ch nodes.Change, several bool) string {
	is, boots, its, it, images, runs := "is", "boots", "its", "it", "image", "it runs"
	if ch.Next != "" {
		if several {
			is = "are"
		}
		return fmt.Sprintf("%s given to %s, who waited: no longer yours", is, ch.Next)
	}
	if several {
		is, boots, its, it, images, runs = "are", "boot", "their", "them", "images", "they run"
	}
	yours := " yours"
	if !ch.Until.IsZero() {
		yours += " until " + c.instant(ch.Until)
	}
	if ch.Tied {
		yours += " while you are connected"
	}
	what := is + yours + " and " + boots + " " + ch.Image.Short()
	switch ch.Image.User {
	case auth.Nobody:
		what = is + " free and " + boots + " " + its + " default " + images
	case c.User:
	default:
		what = fmt.Sprintf("%s %s's and %s walt:%s", is, ch.Image.User, boots, ch.Image)
	}
	next := " at " + its + " next start: "
	switch ch.Reboot.Outcome {
	case nodes.RebootOK:
		switch {
		case ch.Reboot.Rousing && several:
			return what + ": they were sent packets that wake them"
		case ch.Reboot.Rousing:
			return what + ": it " + sentPackets
		case ch.Reboot.Start:
			return what + ": starting"
		}
		return what + ": rebooting"
	case nodes.RebootNone:
		return what + next + "the server has no means to reboot " + it
	case nodes.RebootSkipped:
		if ch.Changed {
			return what + next + "what " + runs + " goes on"
		}
		return what + " already: left alone"
	}
	return what + next + "the reboot failed, " + ch.Reboot.Reason
}

// virtualModel is the model of virtual nodes unless told otherwise.
const virtualModel images.Model = "pc-x86-64"

func nodeCreate(ctx context.Context, c *Call) error {
	name, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	remarks, err := c.remarks()
	if err != nil {
		return err
	}
	v := nodes.Virtual{Name: name, Model: virtualModel, Simulated: c.on("simulated"), Remarks: remarks}
	if c.given("model") {
		if v.Model, err = images.ParseModel(c.option("model")); err != nil {
			return err
		}
	}
	for _, s := range []struct{ option, key string }{{"ram", "ram"}, {"cpus", "cpu.cores"}} {
		if c.given(s.option) {
			v.Settings = append(v.Settings, nodes.Assignment{Key: s.key, Value: c.option(s.option)})
		}
	}
	report, end := c.progress(images.DefaultRef(v.Model).String())
	result, err := c.Lab.Create(ctx, c.User, v, report)
	end()
	if err != nil {
		return err
	}
	if result.Note != "" {
		c.note("%s", result.Note)
	}
	return c.showResult(ctx, result)
}
