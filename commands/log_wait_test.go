package commands

import (
	"context"
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/fault"
)

// waiter is a user who waits for an event.
type waiter struct {
	out, err *tap
	ended    chan int
}

func (lab *testLab) wait(ctx context.Context, line string) waiter {
	w := waiter{newTap(), newTap(), make(chan int, 1)}
	s := lab.session("alice", "")
	s.Out, s.Err = w.out, w.err
	go func() { w.ended <- lab.app.Run(ctx, s, line) }()
	w.err.wait("Waiting for an event that matches: ")
	return w
}

// What comes from then on is waited for, and the first that matches is printed.
func TestLogWait(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	for options, want := range map[string]string{
		`rpi-2: free -> \w+`:                   "ownership bob rpi-2: free -> bob: boots bob/rpi-3-b-default\n",
		`"rpi-2: bob -> free"`:                 "ownership bob rpi-2: bob -> free: boots waltplatform/rpi-3-b-default\n",
		"--type ownership rpi":                 "ownership bob rpi-2: free -> bob: boots bob/rpi-3-b-default\n",
		"--json --type ownership rpi-2: free":  `"to":"bob","detail":"boots bob/rpi-3-b-default","count":1,"lines":[],"step":""}` + "\n",
		"-- --yes":                             "ownership carol rpi-2: bob -> carol: boots carol/rpi-3-b-default, confirmed in advance with --yes\n",
		"--history 2026-11-22T16:30.. reboot:": "power bob pc-2: reboot: ok\n",
	} {
		lab.pass(time.Second)
		w := lab.wait(t.Context(), "log wait "+options)
		for _, line := range []string{"bob node acquire rpi-2", "carol node acquire --yes rpi-2", "bob node acquire --yes rpi-2", "bob node release rpi-2"} {
			user, line, _ := strings.Cut(line, " ")
			lab.ok(auth.Name(user), line)
		}
		if status := <-w.ended; status != StatusDone || !strings.HasSuffix(w.out.String(), want) || strings.Count(w.out.String(), "\n") != 1 {
			t.Errorf("%s: status %d: %s%s", options, status, w.out.String(), w.err.String())
		}
	}
}

// What happened while the clock of the server was ahead is over all the same.
func TestLogWaitAfterTheClockWasAhead(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	lab.pass(30 * 24 * time.Hour)
	lab.ok("bob", "node acquire rpi-2")
	lab.pass(-30 * 24 * time.Hour)
	w := lab.wait(t.Context(), "log wait rpi-2:")
	lab.ok("bob", "node release rpi-2")
	if status := <-w.ended; status != StatusDone || !strings.Contains(w.out.String(), " -> free: ") || strings.Count(w.out.String(), "\n") != 1 {
		t.Errorf("status %d: %s", status, w.out)
	}
}

func TestLogWaitInVain(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	const usage = "  usage: log wait [--timeout D] [--history RANGE] [--issuers SET] [--type TYPE] [--nodes SET] [--streams GLOB] [--all] [--json] PATTERN...\n"
	lab.tell([]step{
		{
			user: "bob", line: "log wait --timeout 1ms rpi-1: free", status: StatusFailed,
			stderr: "Waiting for an event that matches: rpi-1: free\nwalt: no event matched within 1ms: rpi-1: free\n  see what happened meanwhile with: log show -n 20\n",
		},
		{
			user: "bob", line: "log wait --timeout 1 rpi-1: free", status: StatusFailed,
			stderr: "Waiting for an event that matches: rpi-1: free\nwalt: no event matched within 1s: rpi-1: free\n  see what happened meanwhile with: log show -n 20\n",
		},
		{
			user: "bob", line: "log wait rpi-1 up --timeout 5m", status: StatusUsage,
			stderr: "walt: log wait: --timeout is behind PATTERN, which takes the rest of the line\n  options go before PATTERN; if that is meant as text, put -- before PATTERN\n" + usage,
		},
		{user: "bob", line: "log wait rpi-1 --json=false", status: StatusUsage, stderr: "walt: log wait: --json is behind PATTERN, which takes the rest of the line\n  options go before PATTERN; if that is meant as text, put -- before PATTERN\n" + usage},
		{
			user: "bob", line: "log wait (up", status: StatusUsage,
			stderr: "walt: log wait: \"(up\" is not a regular expression: missing closing ): (up\n  a backslash takes the meaning of a sign away, as in \\(\n" + usage,
		},
		{
			user: "bob", line: "log wait --history -5m:-1m up", status: StatusUsage,
			stderr: "walt: log wait: the range \"-5m:-1m\" is over, and nothing comes in it any more\n" + usage,
		},
		{user: "bob", line: "log wait --timeout soon up", status: StatusUsage, stderr: "walt: --timeout: \"soon\" is not a length of time\n  it looks like 90s, 5m, 2h or 3d\n"},
		{user: "bob", line: "log wait --type nonsense up", status: StatusFailed, stderr: "walt: unknown type nonsense\n  see the types of events with: help show log\n"},
	})
}

// Who waits is told when the server stops, and when the wait is cancelled.
func TestLogWaitEnds(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	w := lab.wait(ctx, "log wait --timeout 1h nothing")
	cancel(fault.New(fault.Interrupted, "the server is shutting down"))
	if status := <-w.ended; status != StatusInterrupted || !strings.HasSuffix(w.err.String(), "walt: the server is shutting down\n") || w.out.String() != "" {
		t.Errorf("status %d: %s", status, w.err.String())
	}
	w = lab.wait(t.Context(), "log wait nothing")
	lab.must(lab.store.Close())
	if status := <-w.ended; status != StatusInterrupted || !strings.HasSuffix(w.err.String(), "walt: the log is closed\n") {
		t.Errorf("status %d: %s", status, w.err.String())
	}
}
