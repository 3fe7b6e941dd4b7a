package commands

import (
	"context"
	"strings"
	"testing"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/nodelogs"
	"walt/nodes"
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

// Who waits for what does not come until the end of a range is told so then.
func TestLogWaitUntil(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t) // it is 12:00 on 2026-11-22
	for line, want := range map[string]string{
		"log wait --history 2026-11-22T11:00..2026-11-22T12:00:01 nothing":               "walt: no event matched in the range 2026-11-22T11:00..2026-11-22T12:00:01: nothing\n",
		"log wait --nodes rpi-1 --history 2026-11-22T11:00..2026-11-22T12:00:01 nothing": "walt: no line matched in the range 2026-11-22T11:00..2026-11-22T12:00:01: nothing\n",
	} {
		if got := lab.run("alice", line, ""); got.status != StatusFailed || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// Who follows what nodes say reads each line under the name that its node has then, and only
// while the node is shared.
func TestLogOfNodesFollows(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1")
	lab.ok("bob", "node share rpi-1 carol")
	var out strings.Builder
	c := lab.call("log show --nodes rpi-1 --realtime", &out)
	c.User, c.Admin = "carol", false
	s, err := c.speakers(t.Context())
	lab.must(err)
	mac, owner, _ := lab.nodes.Speaker(t.Context(), "rpi-1")
	hears := func() bool { return s.hears(nodelogs.Line{Time: lab.now(), Node: mac, Owner: owner}) }
	if !hears() || s.name(mac) != "rpi-1" {
		t.Errorf("while it is shared carol hears %s: %t", s.name(mac), hears())
	}
	lab.ok("bob", "node rename rpi-1 pc-9")
	lab.ok("bob", "node share pc-9 none")
	lab.pass(2 * lookAgain)
	if hears() || s.name(mac) != "pc-9" {
		t.Errorf("once it is shared no more carol hears %s: %t", s.name(mac), hears())
	}
	lab.ok("bob", "node release pc-9")
	lab.ok("alice", "device forget --yes pc-9")
	lab.pass(2 * lookAgain)
	if hears() || s.name(mac) != nodes.Name(mac) {
		t.Errorf("once it is gone carol hears %s: %t", s.name(mac), hears())
	}
}
