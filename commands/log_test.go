package commands

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/auth"
	"walt/journal"
)

// eventful is a lab at 17:00 in which something happened every hour.
func eventful(t *testing.T) *testLab {
	lab := newTestLab(t)
	for _, line := range []string{
		"node acquire rpi-1",
		"image clone walt:waltplatform/rpi-3-b-default mine",
		"node boot rpi-1 mine",
		"node rename pc-1 pc-2",
		"node release rpi-1",
	} {
		lab.pass(time.Hour)
		lab.ok("bob", line)
	}
	lab.ok("bob", "node reboot pc-2")
	lab.must(lab.users.Refused(t.Context(), "eve\x1b", "SHA256:none", lab.session("bob", "").Client, "unknown key"))
	return lab
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	got := lab.ok("alice", "log show --history 2026-11-22T12:30..")
	want := "" +
		"2026-11-22 13:00:00 image bob: bob/rpi-3-b-default: cloned from waltplatform/rpi-3-b-default\n" +
		"2026-11-22 13:00:00 ownership bob rpi-1: free -> bob: boots bob/rpi-3-b-default\n" +
		"2026-11-22 14:00:00 image bob: walt:waltplatform/rpi-3-b-default -> bob/mine: cloned\n" +
		"2026-11-22 15:00:00 boot bob rpi-1: bob/rpi-3-b-default -> bob/mine\n" +
		"2026-11-22 16:00:00 registration bob pc-2: pc-1 -> pc-2: renamed\n" +
		"2026-11-22 17:00:00 ownership bob rpi-1: bob -> free: boots waltplatform/rpi-3-b-default\n" +
		"2026-11-22 17:00:00 power bob pc-2: reboot: ok\n" +
		"2026-11-22 17:00:00 login-refused server: \"eve\\x1b\" from 192.0.2.7: SHA256:none: unknown key\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLogRanges(t *testing.T) {
	t.Parallel()
	lab := eventful(t) // it is 17:00 now
	const registered = 10
	for history, events := range map[string]int{
		"":                                       registered + 8,
		"--history full":                         registered + 8,
		"--history none":                         0,
		"--history 90m":                          4,
		"--history 1d":                           registered + 8,
		"--history 1s":                           3,
		"--history 2026-11-22":                   -1,
		"--history ..2026-11-22T12:00:01":        registered,
		"--history 2026-11-22T12:30..":           8,
		"--history 2026-11-22..2026-11-22T14:00": registered + 2,
		"--history 2026-11-22T13:59:59Z..2026-11-22T15:01:00+01:00": 1,
		"--history ..":               registered + 8,
		"--history yesteryear":       -1,
		"--history 2026-11-22..soon": -1,
		"--history -1h":              -1,
		"--history 0s":               -1,
		"--history 99999999d":        -1,
		"--history ''":               registered + 8,
		"--history -90m:":            4,
		"--history -150m:-30m":       2,
		"--history -150m:-119m":      1,
		"--history :-90m":            registered + 4,
		"--history :":                registered + 8,
		"--history -5:":              3, // seconds, as everywhere
		"--history 90m:":             -1,
		"--history -90m:30m":         -1,
		"--history -1h:soon":         -1,
		"--history 2026-11-22:":      -1,
		"--history @":                -1,
		"--history @a:b..":           -1, // no name of a mark
	} {
		got := lab.run("alice", "log show "+history, "")
		switch lines := strings.Count(got.stdout, "\n"); {
		case events >= 0 && (got.status != StatusDone || lines != events):
			t.Errorf("%s: %d events, want %d: %+v", history, lines, events, got)
		case events < 0 && (got.status != StatusUsage || !strings.Contains(got.stderr, "is not a range\n  it is a length of time")):
			t.Errorf("%s: %+v", history, got)
		}
	}
	lab.pass(24*time.Hour + time.Second)
	if got := lab.ok("alice", "log show"); got != "" {
		t.Errorf("after a day: %s", got)
	}
}

func TestLogIssuers(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	lab.ok("carol", "node acquire rpi-2")
	for set, events := range map[string]int{
		"bob":         7,
		"carol":       2,
		"bob,carol":   9,
		"?a*":         2,
		"rpi-1":       4, // among them its registration
		"rpi-1,rpi-2": 6,
		"carol,rpi-2": 3,
		"free-nodes":  7, // rpi-1, rpi-10, pc-2
		"all-devices": 9,
		"server":      3,
	} {
		got := lab.ok("carol", "log show --issuers "+set)
		if lines := strings.Count(got, "\n"); lines != events {
			t.Errorf("%s: %d events, want %d:\n%s", set, lines, events, got)
		}
	}
	lab.tell([]step{
		{
			user: "bob", line: "log show --issuers bbo,rpi-1,nothing-like-it", status: StatusFailed,
			stderr: "walt: unknown issuers bbo, nothing-like-it\n  did you mean bob instead of bbo?\n",
		},
		{user: "bob", line: "log show --issuers bob,", status: StatusUsage, stderr: "walt: --issuers: \"bob,\" has an empty name\n"},
		{user: "bob", line: "log show --issuers b[", status: StatusUsage, stderr: "walt: --issuers: \"b[\" is not a glob\n  see: help show device-sets\n"},
		{user: "bob", line: "log show --issuers my-nodes", status: StatusFailed, stderr: "walt: the set \"my-nodes\" is empty\n  see all devices with: device show\n"},
	})
}

func TestLogRangeEndsBeforeItBegins(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	for _, history := range []string{"-1m:-5m", "2026-11-22T14:00..2026-11-22T13:00"} {
		got := lab.run("alice", "log show --history "+history, "")
		if want := "walt: --history: \"" + history + "\" ends before it begins\n"; got.status != StatusUsage || !strings.HasPrefix(got.stderr, want) {
			t.Errorf("%s: %+v", history, got)
		}
	}
}

func TestLogTypes(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	for types, events := range map[string]int{"ownership": 2, "boot": 1, "ownership,boot": 3, "download": 0, "power --issuers pc-2": 1} {
		got := lab.ok("alice", "log show --type "+types)
		if lines := strings.Count(got, "\n"); lines != events {
			t.Errorf("%s: %d events, want %d:\n%s", types, lines, events, got)
		}
	}
	lab.tell([]step{
		{
			user: "bob", line: "log show --type ownrship,boot,nonsense", status: StatusFailed,
			stderr: "walt: unknown types ownrship, nonsense\n  did you mean ownership instead of ownrship?\n",
		},
		{user: "bob", line: "log show --type nonsense", status: StatusFailed, stderr: "walt: unknown type nonsense\n  see the types of events with: help show log\n"},
		{user: "bob", line: "log show --type boot,", status: StatusUsage, stderr: "walt: --type: \"boot,\" has an empty name\n"},
	})
	help := lab.ok("bob", "log show --help") + lab.ok("bob", "help show log")
	for _, name := range typeNames() {
		if strings.Count(help, name) < 2 {
			t.Errorf("the help does not tell of the type %s", name)
		}
	}
}

// The last events are those of all that are kept, with what else is asked for.
func TestLogLastLines(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	all := strings.SplitAfter(lab.ok("alice", "log show --history full"), "\n")
	all = all[:len(all)-1]
	lab.pass(48 * time.Hour)
	last := func(n int) string { return strings.Join(all[len(all)-n:], "") }
	for options, want := range map[string]string{
		"-n 3":                   last(3),
		"--lines 8":              last(8),
		"-n 1000":                last(len(all)),
		"-n 1 --history none":    "",
		"-n 1 --type ownership":  all[len(all)-3],
		"-n 2 --issuers alice":   all[len(all)-10] + all[len(all)-9],
		"-n 1 --history :-48h2m": all[len(all)-4],
		"-n 2 --history 72h":     last(2),
	} {
		if got := lab.ok("alice", "log show "+options); got != want {
			t.Errorf("%s: got\n%swant\n%s", options, got, want)
		}
	}
	if got := lab.ok("alice", "log show -n 1 --json --type boot"); !strings.HasPrefix(got, `{"events":[{"time":"2026-11-22T15:00:00Z","type":"boot"`) || strings.Count(got, "type") != 1 {
		t.Errorf("as JSON: %s", got)
	}
	for _, n := range []string{"0", "-3", "many", "''"} {
		if got := lab.run("alice", "log show -n "+n, ""); got.status != StatusUsage || !strings.Contains(got.stderr, "is not a positive whole number") {
			t.Errorf("-n %s: %+v", n, got)
		}
	}
}

func TestLogDocument(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	lab.tell([]step{
		{user: "bob", line: "log show --json --history none", stdout: `{"events":[]}` + "\n"},
		{
			user: "bob", line: "log show --json --history 2026-11-22T17:00.. --issuers rpi-1",
			stdout: `{"events":[{"time":"2026-11-22T17:00:00Z","type":"ownership","actor":"bob","node":"rpi-1","nodes":["rpi-1"],"from":"bob","to":"","detail":"boots waltplatform/rpi-3-b-default","count":1,"lines":[],"step":""}]}` + "\n",
		},
	})
}

// With --realtime what happens is shown until the user has seen enough; with
// --json one event a line.
func TestLogRealtime(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := newTap()
	s := lab.session("alice", "")
	s.Out, s.Err = out, &bytes.Buffer{}
	ended := make(chan int)
	go func() { ended <- lab.app.Run(ctx, s, "log show --realtime --json --issuers carol,rpi-2") }()
	for n := 0; !strings.Contains(out.String(), "here"); n++ { // until it watches
		lab.must(lab.journal.Add(t.Context(), journal.Event{Type: journal.User, Actor: "carol", To: "here"}))
		select {
		case <-out.wrote:
		case <-time.After(5 * time.Millisecond):
		}
	}
	lab.ok("bob", "node acquire rpi-1")
	lab.ok("bob", "node acquire rpi-2")
	const want = `{"time":"2026-11-22T12:00:00Z","type":"ownership","actor":"bob","node":"rpi-2","nodes":["rpi-2"],"from":"","to":"bob","detail":"boots bob/rpi-3-b-default","count":1,"lines":[],"step":""}` + "\n"
	for !strings.Contains(out.String(), want) {
		<-out.wrote
	}
	cancel()
	if status := <-ended; status != StatusInterrupted {
		t.Errorf("status %d", status)
	}
	if got := out.String(); strings.Contains(got, "rpi-1") || !strings.HasSuffix(got, want) {
		t.Errorf("got %s", got)
	}
}

// Who follows a log in which nothing happens is told so on a terminal, and only
// there.
func TestLogRealtimeSaysSo(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	const told = "Following the log: what happens is shown as it does. Ctrl-C ends this.\n"
	for _, c := range []struct {
		s    *Session
		line string
		want string
	}{
		{lab.terminal("alice"), "log show -f", told},
		{lab.terminal("alice"), "log show --realtime --history 1h --issuers carol", told},
		{lab.terminal("alice"), "log show --realtime --json", ""},
		{lab.session("alice", ""), "log show --realtime", "walt: interrupted\n"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		c.s.Waiting = func(context.Context) (context.Context, context.CancelFunc) {
			cancel()
			return ctx, cancel
		}
		if got := lab.runIn(ctx, c.s, c.line); got.stderr != c.want {
			t.Errorf("%s: %q, want %q", c.line, got.stderr, c.want)
		}
		cancel()
	}
}

// The last events come first, and then, without a gap, what happens.
func TestLogRealtimeAfterTheLast(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newTap()
	s := lab.session("alice", "")
	s.Out, s.Err = out, &bytes.Buffer{}
	ended := make(chan int)
	go func() { ended <- lab.app.Run(ctx, s, "log show -n 2 --realtime --type ownership,boot") }()
	out.wait("bob -> free: boots")
	lab.ok("carol", "node acquire rpi-2")
	out.wait("free -> carol")
	cancel()
	<-ended
	const want = "" +
		"2026-11-22 15:00:00 boot bob rpi-1: bob/rpi-3-b-default -> bob/mine\n" +
		"2026-11-22 17:00:00 ownership bob rpi-1: bob -> free: boots waltplatform/rpi-3-b-default\n" +
		"2026-11-22 17:00:00 ownership carol rpi-2: free -> carol: boots carol/rpi-3-b-default\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// wait returns when the text was written.
func (o *tap) wait(text string) {
	for !strings.Contains(o.String(), text) {
		<-o.wrote
	}
}

// tap is an output that can be read while it is written.
type tap struct {
	mu    sync.Mutex
	all   bytes.Buffer
	wrote chan struct{}
}

func newTap() *tap { return &tap{wrote: make(chan struct{}, 1)} }

func (o *tap) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.all.Write(b)
}

func (o *tap) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

func TestBackup(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "alice", line: "advanced backup", stdout: "all data", stderr: "That was it all. It holds private keys: let nobody else read it (umask 077).\n"},
		{user: "bob", line: "advanced backup", status: StatusFailed, stderr: "walt: only administrators make backups\n  see who is one with: user show\n"},
	})
	if got := lab.runIn(t.Context(), lab.terminal(auth.Name("alice")), "advanced backup"); got.status != StatusUsage || got.stdout != "" {
		t.Errorf("onto a terminal: %+v", got)
	}
}

// Events that a clock put into the future are events.
func TestLogOfTheFuture(t *testing.T) {
	t.Parallel()
	lab := eventful(t)
	lab.pass(-48 * time.Hour)
	lab.ok("carol", "node acquire rpi-2")
	for _, line := range []string{"log show", "log show --history full"} {
		if got := lab.ok("alice", line); !strings.Contains(got, "free -> carol") {
			t.Errorf("%s:\n%s", line, got)
		}
	}
}
