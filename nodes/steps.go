package nodes

import (
	"context"
	"slices"
	"time"

	"walt/fault"
)

// Step is how far the last boot of a node came: the last step that it reached. A boot that
// fails stays at its step.
type Step string

// The steps of a boot, in their order. Some nodes leave out some: one that begins with its
// kernel asks for no address, and of a simulated one nothing is heard between its kernel
// and that it is up.
const (
	StepNone      Step = "none"      // told to start, and has asked for nothing
	StepAddress   Step = "address"   // asked for its address
	StepLoader    Step = "loader"    // took a loader over the network
	StepEFI       Step = "efi"       // the same, of UEFI, which may refuse to run it
	StepChained   Step = "chained"   // that runs, or another one that speaks to the server
	StepKernel    Step = "kernel"    // took its kernel, or was given it
	StepInitramfs Step = "initramfs" // its first program runs, and was told what to do
	StepRescue    Step = "rescue"    // has stopped there on purpose, as the node is set
	StepMounting  Step = "mounting"  // makes its root file system
	StepRoot      Step = "root"      // has that, and runs the programs of its image
	StepUp        Step = "up"        // its SSH server answers
)

// milestone is what users are told of a step.
type milestone struct {
	step  Step
	word  Step   // for programs: some steps are parts of others
	done  string // what was reached, of a node
	still string // what was not, "" for nothing
}

var milestones = []milestone{
	{StepNone, StepNone, "was told to start", "has not asked for anything"},
	{StepAddress, StepAddress, "asked for its address", "has not loaded anything"},
	{StepLoader, StepLoader, "loaded its loader", "has not asked what to boot"},
	{StepEFI, StepLoader, "loaded its loader", "has not run it: Secure Boot?"},
	{StepChained, StepLoader, "asked what to boot", "has not loaded its kernel"},
	{StepKernel, StepKernel, "loaded its kernel", "has not mounted its root"},
	{StepInitramfs, StepInitramfs, "began its initramfs", "has not mounted its root"},
	{StepRescue, StepInitramfs, "stopped in its initramfs", "has not mounted its root"},
	{StepMounting, StepInitramfs, "began to mount its root", "has not mounted it"},
	{StepRoot, StepRoot, "mounted its root", "is not up"},
	{StepUp, StepUp, "was up", ""},
}

// order is the place of a step among all, -1 for none.
func (s Step) order() int {
	return slices.IndexFunc(milestones, func(m milestone) bool { return m.step == s })
}

// Word is one of none, address, loader, kernel, initramfs, root and up; "" when there is
// no step.
func (s Step) Word() string {
	if i := s.order(); i >= 0 {
		return string(milestones[i].word)
	}
	return ""
}

// Reached says in words for users what a boot reached, and what it did not yet, "" for
// nothing, as in "loaded its kernel" and "has not mounted its root".
func (s Step) Reached() (done, still string) {
	if i := s.order(); i >= 0 {
		return milestones[i].done, milestones[i].still
	}
	return "", ""
}

// Stands says in words for users where a boot stands, as in "it loaded its kernel, and has
// not mounted its root"; "" when nothing is known.
func (s Step) Stands() string {
	switch done, still := s.Reached(); {
	case done == "":
		return ""
	case still == "":
		return "it " + done
	default:
		return "it " + done + ", and " + still
	}
}

// Reached is called when the boot of a node is at another step. Its boot.timeout begins
// anew by that: what goes on is not stuck. A device that asks for its address has begun to
// boot by that, unless its agent says otherwise. Of those that are no nodes the step is
// kept, too.
func (l *Lab) Reached(ctx context.Context, n Name, step Step) {
	d, here := l.inView(ctx, n)
	if !here {
		return
	}
	l.status.follow(n, func(*trail) {})
	l.status.change(n, func(s *Status) {
		switch {
		case d.Kind == Node:
			s.reach(step, d, l.Now())
		case step == StepAddress && s.Step != StepAddress, step.order() > s.Step.order():
			s.Step = step
		}
	})
}

// reach has a node be at a step.
func (s *Status) reach(step Step, d Device, now time.Time) {
	begins := step == StepAddress && !d.Virtual() && (s.State != Up || !s.alone.IsZero())
	goesOn := s.State == Off && s.Heard.IsZero() && !d.Virtual() && step.order() >= StepInitramfs.order() // since before the server started
	switch {
	case s.due && (d.Virtual() || step.order() >= StepKernel.order()): // it is of the boot that ends
		return
	case s.State == Booting && (s.Step == step || s.Step.order() > step.order() && !begins): // it is further
		return
	case begins && s.State == Booting && s.Step.order() > step.order(): // in the middle of it
		s.Addr, s.runs = "", ""
		if s.Step.order() < StepKernel.order() && !s.again { // it may be its loader
			s.again = true
			break
		}
		if s.Step.order() >= StepKernel.order() {
			s.Why, s.again = "rebooted before it was up", false
		}
		if s.tries++; s.late.IsZero() { // it had stopped on purpose
			s.late = now
		}
	case begins && s.State != Booting, goesOn:
		*s = Status{State: Booting, began: now, late: now, cause: s.cause, seen: s.seen}
	case s.State != Booting:
		return
	}
	if s.Stopped() { // no more
		s.Addr, s.Why, s.late = "", "", now
	}
	s.Step, s.Preparing = step, false
	s.allow(d, now)
}

// allow gives a boot that goes on its boot.timeout anew, unless it does so in circles.
func (s *Status) allow(d Device, now time.Time) {
	if !s.late.IsZero() && s.tries <= d.Settings().bootRetries() {
		s.late = now.Add(d.Settings().bootTimeout())
	}
}

// Strayed is called when an operating system on a node asks for its address which the
// server knows nothing of. One that is to boot from the server has not, by that.
func (l *Lab) Strayed(ctx context.Context, n Name) {
	d, here := l.inView(ctx, n)
	s := l.status.of(n)
	if !here || d.Kind != Node || d.Virtual() || s.State == Up || s.Failed ||
		s.State == Booting && s.Step.order() >= StepKernel.order() {
		return
	}
	l.Failed(n, fault.Failedf("it asked for an address without loading anything: booted from its own disk").
		WithHint("have its firmware boot over the network before the disk: help show hardware"))
}

// Prepares is called when the server begins to make ready what a node boots, and when it
// has. A node that waits for that is not stuck.
func (l *Lab) Prepares(ctx context.Context, n Name, begins bool) {
	d, here := l.inView(ctx, n)
	if !here {
		return
	}
	l.status.change(n, func(s *Status) {
		if s.State == Booting && s.Preparing != begins {
			s.Preparing = begins
			s.allow(d, l.Now())
		}
	})
}

// inView is a device of the view, false when there is none.
func (l *Lab) inView(ctx context.Context, n Name) (d Device, here bool) {
	err := l.view.Read(ctx, func() {
		known := l.view.named[n]
		if here = known != nil; here {
			d = *known
		}
	})
	return d, here && err == nil
}
