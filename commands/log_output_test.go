package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/api"
	"walt/auth"
	"walt/journal"
)

// writes is an output that notes each call of Write.
type writes struct {
	all  []string
	last string // after this in one of them comes nothing more
	end  func()
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	if w.end != nil && strings.Contains(string(p), w.last) {
		w.end()
	}
	return len(p), nil
}

// Whatever its form, the log is written some events at a time: not each for
// itself, and not all that there are.
func TestLogInPages(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	const many = 3000
	for i := range many {
		lab.must(lab.journal.Add(t.Context(), journal.Event{Type: journal.Power, Node: "rpi-1", Detail: fmt.Sprintf("reboot: ok %d.", i)}))
	}
	for _, line := range []string{"log show --history full", "log show --history full --json", "log show --history full --realtime --json"} {
		s := lab.session("alice", "")
		out := &writes{last: fmt.Sprintf(" %d.", many-1)}
		s.Out, s.Err = out, out
		if strings.Contains(line, "realtime") {
			s.Waiting = func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, out.end = context.WithCancel(ctx)
				return ctx, out.end
			}
		}
		lab.app.Run(t.Context(), s, line)
		text, longest := strings.Join(out.all, ""), 0
		for _, w := range out.all {
			longest = max(longest, len(w))
		}
		if n := strings.Count(text, "reboot: ok"); n != many || len(out.all) > many/50 || longest > bufferSize {
			t.Errorf("%s: %d of %d events in %d writes, the longest of %d bytes", line, n, many, len(out.all), longest)
		}
		if strings.HasSuffix(line, "full --json") {
			lab.must(json.Unmarshal([]byte(text), new(api.Events)))
		}
	}
}

// The place of events that were left out is a line among others, also for programs.
func TestLogLeavesOut(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	e := journal.Event{Time: noon, Type: journal.Power, Actor: "bob", Node: "rpi-1", Detail: "reboot: ok"}
	for line, want := range map[string]string{
		"log show --realtime": "2026-11-22 12:00:00 skipped server: 1,042 lines left out, since the output was not read in time (see: log show)\n" +
			"2026-11-22 12:00:00 power bob rpi-1: reboot: ok\n",
		"log show --realtime --json": `{"time":"2026-11-22T12:00:00Z","type":"skipped","actor":"server","node":"","nodes":[],"from":"","to":"",` +
			`"detail":"1,042 lines left out, since the output was not read in time (see: log show)","count":1042,"lines":[],"step":""}` + "\n" +
			`{"time":"2026-11-22T12:00:00Z","type":"power","actor":"bob","node":"rpi-1","nodes":["rpi-1"],"from":"","to":"","detail":"reboot: ok","count":1,"lines":[],"step":""}` + "\n",
	} {
		var out strings.Builder
		c := lab.call(line, &out)
		w := c.newEventWriter(true)
		lab.must(w.follow([]journal.Event{e}, 1042))
		if out.String() != want {
			t.Errorf("%s: got\n%swant\n%s", line, &out, want)
		}
	}
}

// call is a command line that is about to run.
func (lab *testLab) call(line string, out *strings.Builder) *Call {
	words := strings.Fields(line)
	cmd, rest, ok := lab.app.lookup(words)
	if !ok {
		lab.t.Fatalf("%s: no such command", line)
	}
	s := lab.session("alice", "")
	s.Out, s.Err = out, out
	c := &Call{App: lab.app, Session: s, cmd: cmd, line: line}
	lab.must(c.parse(rest))
	return c
}

// What a node wrote on its console is in the log for its owner of that time and for
// administrators, in whatever form the log is shown; that of a free node is for all. An
// event that does not tell whose it was is for administrators.
func TestLogOfConsoles(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	all := []string{"of-bob", "of-nobody", "of-whom"}
	for i, reader := range []string{"bob", "waltplatform", ""} {
		lab.must(lab.journal.Add(t.Context(), journal.Event{Type: journal.Power, Actor: journal.Server, Node: "pc-1", Detail: "cannot boot", Lines: all[i : i+1], Reader: reader}))
	}
	for user, want := range map[string][]string{
		"alice": all, "bob": {"of-bob", "of-nobody"}, "carol": {"of-nobody"},
	} {
		for _, line := range []string{
			"log show --history full", "log show -n 3", "log show --json", "log show --issuers pc-1 --type power",
			"log show --history full --realtime", "log show --history full --realtime --json",
		} {
			s := lab.session(auth.Name(user), "")
			out := &writes{last: "cannot boot"}
			s.Out, s.Err = out, out
			if strings.Contains(line, "realtime") {
				s.Waiting = func(ctx context.Context) (context.Context, context.CancelFunc) {
					ctx, out.end = context.WithCancel(ctx)
					return ctx, out.end
				}
			}
			lab.app.Run(t.Context(), s, line)
			text := strings.Join(out.all, "")
			var got []string
			for _, what := range all {
				if strings.Contains(text, what) {
					got = append(got, what)
				}
			}
			if strings.Count(text, "cannot boot") != 3 || !slices.Equal(got, want) {
				t.Errorf("%s: %s: sees %q, want %q:\n%s", user, line, got, want, text)
			}
		}
		got := lab.ok(auth.Name(user), "log wait --json --history full cannot boot") // the first of them
		if strings.Contains(got, "of-bob") != (user != "carol") {
			t.Errorf("%s waits for it and sees %s", user, got)
		}
	}
}

// What the nodes of a user wrote who was removed is not for another one of that name.
func TestLogOfConsolesAfterRemoval(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	note := func(what string) {
		t.Helper()
		lab.must(lab.journal.Add(t.Context(), journal.Event{Type: journal.Power, Actor: journal.Server, Node: "pc-1", Detail: "cannot boot", Lines: []string{what}, Reader: "bob"}))
	}
	note("of-the-first")
	lab.ok("alice", "user remove bob --force")
	lab.pass(time.Second)
	if got := lab.run("alice", "user add bob", publicKey("bob")); got.status != StatusDone {
		t.Fatalf("user add: %+v", got)
	}
	note("of-the-second")
	for _, line := range []string{"log show --history full", "log show --history full --json"} {
		if got := lab.ok("bob", line); strings.Contains(got, "of-the-first") || !strings.Contains(got, "of-the-second") {
			t.Errorf("%s: bob sees %s", line, got)
		}
		if got := lab.ok("alice", line); !strings.Contains(got, "of-the-first") {
			t.Errorf("%s: an administrator sees %s", line, got)
		}
	}
}
