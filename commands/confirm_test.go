package commands

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/consent"
)

const (
	bobsNode    = "rpi-1 belongs to bob since 2026-11-22 12:00 UTC (5 minutes ago); bob is not connected.\n"
	takeAnyway  = "Take rpi-1 anyway? [y/N] "
	cloned      = "Cloned the default image into your working set as rpi-3-b-default.\n"
	notDone     = "walt: not confirmed; nothing changed\n"
	noAnswer    = notDone + "  no answer came; --yes answers in advance\n"
	carolsShown = "rpi-1" + mineAndReboot
)

// contestedLab is one where bob has rpi-1, since five minutes.
func contestedLab(t *testing.T) *testLab {
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1")
	lab.pass(5 * time.Minute)
	return lab
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	asked := bobsNode + takeAnyway + "\n"
	for name, c := range map[string]step{
		"yes":            {stdin: "y\n", stdout: carolsShown, stderr: asked + cloned},
		"loud yes":       {stdin: " YES \r\n", stdout: carolsShown, stderr: asked + cloned},
		"yes, no end":    {stdin: "y", stdout: carolsShown, stderr: asked + cloned},
		"no":             {stdin: "n\n", stderr: asked + notDone, status: StatusInUse},
		"only Enter":     {stdin: "\n", stderr: asked + notDone, status: StatusInUse},
		"something else": {stdin: "yeah\ny\n", stderr: asked + notDone, status: StatusInUse},
		"end of input":   {stdin: "", stderr: asked + noAnswer, status: StatusInUse},
		"--yes":          {line: "--yes", stdout: carolsShown, stderr: cloned},
		"-y":             {line: "-y", stdout: carolsShown, stderr: cloned},
		"--no-input": {
			line: "--no-input", stdin: "y\n", status: StatusInUse,
			stderr: bobsNode + notDone + "  --no-input never asks; --yes answers in advance (see: help show node-ownership)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := contestedLab(t)
			c.user, c.line = "carol", "node acquire rpi-1 "+c.line
			lab.tell([]step{c})
			owner := "bob"
			if c.status == StatusDone {
				owner = "carol"
			}
			if got := lab.ok("alice", "node show --all"); !strings.Contains(got, "walt:"+owner+"/rpi-3-b-default") {
				t.Errorf("rpi-1 should be %s's:\n%s", owner, got)
			}
		})
	}
}

// Whatever disturbs an owner asks, in words that fit.
func TestEveryQuestion(t *testing.T) {
	t.Parallel()
	lab := contestedLab(t)
	lab.ok("bob", "node acquire pc-1")
	lab.online["bob"] = true
	const (
		rpi = "rpi-1 belongs to bob since 2026-11-22 12:00 UTC (5 minutes ago); bob is connected now.\n"
		pc  = "pc-1 belongs to bob since 2026-11-22 12:05 UTC (just now); bob is connected now.\n"
	)
	for line, question := range map[string]string{
		"node acquire rpi-1,pc-1,rpi-2":   pc + rpi + "Take all 2 anyway?",
		"node boot rpi-1 default":         rpi + "Free rpi-1 anyway?",
		"node boot rpi-1 rpi-3-b-default": rpi + "Take rpi-1 anyway?",
		"node reboot rpi-1":               rpi + "Reboot rpi-1 anyway?",
		"node rename rpi-1 rpi-7":         rpi + "Rename rpi-1 anyway?",
		"device rename rpi-1 rpi-7":       rpi + "Rename rpi-1 anyway?",
		"node remove pc-1":                pc + "Remove pc-1 anyway?",
		"device forget rpi-1":             rpi + "Remove rpi-1 anyway?",
	} {
		got := lab.run("alice", line, "n\n")
		_, shown, seeded := strings.Cut(got.stderr, "were cloned into it as pc-x86-64-default, rpi-3-b-default.\n")
		if !seeded {
			shown = got.stderr
		}
		if want := question + " [y/N] \n" + notDone; shown != want || got.status != StatusInUse || got.stdout != "" {
			t.Errorf("%s: %+v\nwant %q", line, got, want)
		}
	}
	for _, line := range []string{"node show --all", "device show rpi-1", "node release my-nodes", "node acquire --any 1"} {
		lab.ok("carol", line)
	}
}

// What was confirmed is what is done: an answer counts for the facts that were
// shown, and for no others.
func TestFactsThatChange(t *testing.T) {
	t.Parallel()
	lab := contestedLab(t)
	var prompts []string
	during := []string{"node acquire rpi-1 --yes", "node boot rpi-1 default --yes", "node acquire rpi-1 --yes", ""}
	s := lab.session("carol", "")
	s.Ask = func(_ context.Context, prompt string) (string, error) {
		prompts = append(prompts, prompt)
		line := during[0]
		during = during[1:]
		if line != "" {
			lab.pass(time.Minute)
			lab.ok("alice", line)
		}
		return "y", nil
	}
	// alice takes it, and carol must be asked again; alice frees it, and there is
	// nothing to ask.
	got := lab.runIn(t.Context(), s, "node acquire rpi-1")
	want := answer{carolsShown, bobsNode +
		"While you were asked, rpi-1 changed hands; nothing was done.\n" +
		"rpi-1 belongs to alice since 2026-11-22 12:06 UTC (just now); alice is not connected.\n" + cloned, StatusDone}
	if got != want || len(prompts) != 2 {
		t.Errorf("%d prompts, %+v, want %+v", len(prompts), got, want)
	}

	// A node that nobody had when the question was put belongs to alice now.
	lab.ok("carol", "node acquire rpi-2")
	s.User, s.Key = "bob", fingerprint("bob")
	during = []string{"node acquire rpi-10 --yes", ""}
	got = lab.runIn(t.Context(), s, "node acquire rpi-2,rpi-10")
	if !strings.Contains(got.stderr, "While you were asked, rpi-10 got in the way; nothing was done.\n") ||
		!strings.Contains(got.stderr, "rpi-10 belongs to alice since 2026-11-22 12:08 UTC") || got.status != StatusDone || len(prompts) != 4 {
		t.Errorf("%d prompts, %+v", len(prompts), got)
	}
}

func TestInterruptedQuestion(t *testing.T) {
	t.Parallel()
	lab := contestedLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := lab.session("carol", "")
	s.Ask = func(ctx context.Context, _ string) (string, error) {
		cancel()
		<-ctx.Done()
		return "", ctx.Err()
	}
	if got, want := lab.runIn(ctx, s, "node acquire rpi-1"), (answer{"", bobsNode + "walt: interrupted\n", StatusInterrupted}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab := contestedLab(t)
		s := lab.session("carol", "")
		s.Ask = func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		begin := time.Now()
		got := lab.runIn(t.Context(), s, "node acquire rpi-1")
		want := answer{"", bobsNode + "\n" + notDone + "  no answer came within 60 s; --yes answers in advance\n", StatusInUse}
		if waited := time.Since(begin); got != want || waited != time.Minute {
			t.Errorf("after %v: %+v, want %+v", waited, got, want)
		}
		lab.store.Close()
	})
}

// What changed is told of nodes of others, and of one's own that boot an image.
func TestChangesSince(t *testing.T) {
	t.Parallel()
	then := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	shown := []consent.Claim{{Node: "n1", Owner: "bob", Since: then}, {Node: "n2", Owner: "bob", Since: then}, {Node: "n3", Owner: "bob", Since: then}}
	now := []consent.Claim{{Node: "n0", Owner: "carol", Since: then}, {Node: "n1", Owner: "bob", Since: then}, {Node: "n2", Owner: "bob", Since: then.Add(1)}}
	if got, want := changesSince(shown, now), "n0 got in the way, n2 changed hands, n3 is no longer in the way"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
