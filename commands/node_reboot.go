package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/nodes"
)

func nodeReboot(ctx context.Context, c *Call) error {
	w := deed{verb: "Reboot", before: "reboot", others: "rebooting", words: map[nodes.RebootOutcome]string{nodes.RebootOK: "is rebooting"}, start: "is starting"}
	done, err := c.eachNode(ctx, w, func(set nodes.Set, given consent.Agreement, each func(nodes.Change)) error {
		return c.Lab.Reboot(ctx, c.User, set, c.on("hard"), given, each)
	})
	if err != nil {
		return err
	}
	return w.undone(done, failedReboots(done, c.on("hard")), "switch it off and on by hand: a node boots its image at every start")
}

// failedReboots is the fault for nodes whose reboot failed, nil without any; hard as they were rebooted.
func failedReboots(changes []nodes.Change, hard bool) error {
	f := failedChanges(changes, "reboot")
	if f == nil {
		return nil
	}
	var failed []string
	stay := true
	for _, ch := range changes {
		if ch.Reboot.Outcome == nodes.RebootFailed {
			failed = append(failed, string(ch.Node))
			hard = hard || ch.Reboot.Shared
			stay = stay && ch.Reboot.StaysOn
		}
	}
	if stay { // trying again does not help before somebody mends that
		return f.WithHint("see which fail with: power show")
	}
	if fault.Many(failed) {
		return f.WithHint("see what they are doing with: node show --all")
	}
	flag := ""
	if hard {
		flag = " --hard"
	}
	return f.WithHint("try again with: node reboot %s%s", strings.Join(failed, ","), flag)
}

// failedChanges is the fault for nodes of which what was to be done failed, with each
// reason once; nil without any.
func failedChanges(changes []nodes.Change, what string) *fault.Error {
	var reasons []string
	why := map[string][]string{} // by reason
	for _, ch := range changes {
		if ch.Reboot.Outcome != nodes.RebootFailed {
			continue
		}
		reason := ch.Reboot.Reason
		if why[reason] == nil {
			reasons = append(reasons, reason)
		}
		why[reason] = append(why[reason], string(ch.Node))
	}
	if len(reasons) == 0 {
		return nil
	}
	for i, reason := range reasons {
		reasons[i] = fault.Few(why[reason]) + ": " + reason
	}
	return fault.Failedf("could not %s %s", what, strings.Join(reasons, "; "))
}

func nodeWait(ctx context.Context, c *Call) error {
	set, err := nodes.ParseSet(c.arg(0))
	if err != nil {
		return err
	}
	ctx, cancel := c.waiting(ctx)
	defer cancel()
	limited, cancel, err := c.limited(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	named, err := c.Lab.Show(ctx, c.User, set)
	if err != nil {
		return err
	}
	wanted := slices.AppendSeq(make([]*nodes.Device, 0, named.Len()), named.Found())
	if _, err := c.wakeUp(limited, wanted); err != nil && limited.Err() == nil { // of an end, Wait tells
		return err
	}
	show, end := c.waitingFor()
	missing, err := c.Lab.Wait(limited, wanted, show)
	end()
	switch {
	case err == nil:
		up, err := c.Lab.Again(ctx, wanted) // under the names that they have by now
		if err != nil {
			return err
		}
		c.lines(func(w io.Writer) {
			for _, n := range up {
				fmt.Fprintf(w, "%s is up\n", n.Name)
			}
		})
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fault.Failedf("not up after %s: %s", withUnit(c.option("timeout")), listStates(missing)).
			WithHint("see what goes on with: node show --all")
	}
	if why := fault.As(context.Cause(ctx)); why != nil {
		return why
	}
	return err
}

// limited derives a context that ends after --timeout, when that is given.
func (c *Call) limited(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if !c.given("timeout") {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	d, err := duration("--timeout", c.option("timeout"))
	if err != nil {
		return ctx, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}

// waitingFor shows, until end is called, what is waited for: on a terminal a
// line that changes, without one a line whenever there are fewer, or the power of one is cut.
func (c *Call) waitingFor() (show func([]nodes.Missing), end func()) {
	if c.fancy() {
		return func(missing []nodes.Missing) {
				c.fleeting("Waiting for %s ...", listStates(missing))
			},
			c.wipe
	}
	last, cut := 0, 0
	return func(missing []nodes.Missing) {
		before := cut
		cut = 0
		for _, n := range missing {
			cut += n.Cycles
		}
		if len(missing) != last || cut > before {
			c.note("Waiting for %s.", listStates(missing))
		}
		last = len(missing)
	}, func() {}
}

// listStates lists nodes with their states, the first few of many.
func listStates(some []nodes.Missing) string {
	const most = 5
	var words []string
	for _, n := range some[:min(most, len(some))] {
		state := string(n.State)
		if n.Cycles > 0 {
			state += ", after " + count(n.Cycles, "power cycle")
		}
		words = append(words, fmt.Sprintf("%s (%s)", n.Name, state))
	}
	if len(some) > most {
		words = append(words, fmt.Sprintf("and %d more", len(some)-most))
	}
	return strings.Join(words, ", ")
}

// wake gives nodes that are off to save power their power back, and returns them when these
// are up, or should have been.
func (c *Call) wake(ctx context.Context, found []nodes.DeviceStatus) ([]nodes.DeviceStatus, error) {
	all := devicesOf(found)
	woken, err := c.wakeUp(ctx, all)
	if err != nil || len(woken) == 0 {
		return found, err
	}
	var woke []*nodes.Device
	for _, n := range woken {
		woke = append(woke, n.Device)
	}
	show, end := func([]nodes.Missing) {}, func() {}
	if c.fancy() { // others were told that it is woken
		show, end = c.waitingFor()
	}
	defer end()
	return c.Lab.UpInTime(ctx, all, woke, show)
}

// wakeUp is wake without waiting. It returns those that it woke.
func (c *Call) wakeUp(ctx context.Context, all []*nodes.Device) ([]nodes.Woken, error) {
	end := c.showPending()
	woke, err := c.Lab.Wake(ctx, all)
	end()
	var saved, dark, others, why []string
	for _, n := range woke {
		switch name := string(n.Name); {
		case n.Saved:
			saved = append(saved, name)
		case n.Dark == "":
			others = append(others, name)
		default:
			if dark = append(dark, name); !slices.Contains(why, n.Dark) {
				why = append(why, n.Dark)
			}
		}
	}
	if len(saved) > 0 {
		c.note("Waking %s, which had been switched off to save power.", fault.Few(saved))
	}
	if len(dark) > 0 {
		c.note("Waking %s, whose power could not be given before (%s).", fault.Few(dark), fault.Few(why))
	}
	if len(others) > 0 {
		c.note("Waking %s, which is to be on.", fault.Few(others))
	}
	return woke, err
}

// waitForBoot returns the nodes when those that are booting are up, or should
// have been.
func (c *Call) waitForBoot(ctx context.Context, found []nodes.DeviceStatus) ([]nodes.DeviceStatus, error) {
	var booting []*nodes.Device
	for _, n := range found {
		if n.State == nodes.Booting {
			booting = append(booting, n.Device)
		}
	}
	if len(booting) == 0 {
		return found, nil
	}
	show, end := c.waitingFor()
	defer end()
	return c.Lab.UpInTime(ctx, devicesOf(found), booting, show)
}

func devicesOf(found []nodes.DeviceStatus) (all []*nodes.Device) {
	for _, n := range found {
		all = append(all, n.Device)
	}
	return all
}
