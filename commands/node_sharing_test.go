package commands

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,rpi-2")
	lab.tell([]step{
		{user: "bob", line: "node note rpi-1 flash  test, \"A\" (#3)", stdout: `rpi-1 has the note "flash  test, \"A\" (#3)"` + "\n"},
		{user: "bob", line: "node note rpi-1,rpi-2 'flash test'", stdout: `rpi-1, rpi-2 have the note "flash test"` + "\n"},
		{user: "bob", line: "node note rpi-2", stdout: "rpi-2 has no note any more\n"},
		{
			user: "bob", line: "node note rpi-1 " + strings.Repeat("x", 81), status: StatusUsage,
			stderr: "walt: the text has 81 characters, of which 80 are possible\n  say it shorter\n",
		},
		{
			user: "bob", line: "node note rpi-1 mine --json", status: StatusUsage,
			stderr: "walt: node note: --json is behind TEXT, which takes the rest of the line\n" +
				"  options go before SET; if that is meant as text, put -- before SET\n  usage: node note [--json] SET [TEXT...]\n",
		},
		{user: "bob", line: "node note -- rpi-2 --json", stdout: "rpi-2 has the note \"--json\"\n"},
		{user: "bob", line: "node note rpi-2", stdout: "rpi-2 has no note any more\n"},
		{
			user: "carol", line: "node note rpi-1 mine", status: StatusFailed,
			stderr: "walt: not yours: rpi-1 (owned by bob); nothing changed\n  this is for who owns a node; see your own with: node show\n",
		},
		{
			user: "carol", line: "node acquire rpi-1,rpi-2", status: StatusInUse,
			stderr: "rpi-1 belongs to bob since 2026-11-22 12:00 UTC (just now) with the note \"flash test\"; bob is not connected.\n" +
				"rpi-2 belongs to bob since 2026-11-22 12:00 UTC (just now); bob is not connected.\n" +
				"Take all 2 anyway? [y/N] \nwalt: not confirmed; nothing changed\n  no answer came; --yes answers in advance\n",
		},
	})
	if got := lab.ok("bob", "node note --json rpi-1 'for a \"demo\"'"); !strings.Contains(got, `"job":null,"note":"for a \"demo\"","mates":[]`) {
		t.Errorf("got %s", got)
	}
	if got := lab.ok("carol", "node show rpi-1"); !strings.Contains(got, "\nnote       for a \"demo\"\n") && !strings.Contains(got, "for a \"demo\"\n") {
		t.Errorf("got %s", got)
	}
}

// A note takes the room that the terminal has left, or a line of its own.
func TestNotesInTables(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,rpi-2")
	note := "until Monday, 漢字 " + strings.Repeat("very ", 11) + "long"
	lab.ok("bob", "node note rpi-1 "+note)
	const heading = "NAME   OWNER  MODEL    TYPE      STATE  IMAGE            SINCE"
	rows := []string{
		"rpi-1  you    rpi-3-b  physical  off    rpi-3-b-default  just now",
		"rpi-2  you    rpi-3-b  physical  off    rpi-3-b-default  just now",
	}
	for width, want := range map[int]string{
		0:   heading + "     NOTE\n" + rows[0] + "  " + note + "\n" + rows[1] + "\n",
		100: heading + "     NOTE\n" + rows[0] + "  until Monday, 漢字 very very v...\n" + rows[1] + "\n",
		72:  heading + "\n  NOTE\n" + rows[0] + "\n  until Monday, 漢字 very very very very very very very very very ver...\n" + rows[1] + "\n",
	} {
		s := lab.session("bob", "")
		if width > 0 {
			s = lab.narrow(width)
		}
		got := lab.runIn(t.Context(), s, "node show")
		if got := strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(got.stdout); got != want {
			t.Errorf("at a width of %d:\n%s--- want\n%s", width, got, want)
		}
	}
	got := lab.runIn(t.Context(), lab.narrow(60), "node show")
	for line := range strings.Lines(strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(got.stdout)) {
		if cellsOf(strings.TrimSuffix(line, "\n")) > 60 {
			t.Errorf("wider than 60: %s", line)
		}
	}
}

func TestMates(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1,rpi-1")
	lab.tell([]step{
		{user: "bob", line: "node share pc-1,rpi-1 carol,alice", stdout: "pc-1, rpi-1 are shared with alice, carol\n"},
		{user: "carol", line: "node reboot pc-1", stdout: "pc-1 is rebooting\n"},
		{user: "bob", line: "node share pc-1 all", stdout: "pc-1 is shared with everybody\n"},
		{user: "bob", line: "node share pc-1 none", stdout: "pc-1 is shared with nobody\n"},
		{
			user: "carol", line: "node reboot pc-1 --no-input", status: StatusInUse,
			stderr: "pc-1 belongs to bob since 2026-11-22 12:00 UTC (just now); bob is not connected.\n" +
				"walt: not confirmed; nothing changed\n  --no-input never asks; --yes answers in advance (see: help show node-ownership)\n",
		},
		{
			user: "bob", line: "node share pc-1 carol,all", status: StatusUsage,
			stderr: "walt: \"all\" stands alone, not in \"carol,all\"\n  it is users joined by commas, or all, or none\n",
		},
		{
			user: "alice", line: "user add all", stdin: publicKey("all"), status: StatusUsage,
			stderr: "walt: the user name \"all\" is reserved\n  choose another name\n",
		},
	})
	if got := lab.ok("alice", "node show rpi-1 --json"); !strings.Contains(got, `"mates":["alice","carol"]`) {
		t.Errorf("got %s", got)
	}
	if got := lab.ok("carol", "node show rpi-1"); !strings.Contains(got, "alice, carol\n") {
		t.Errorf("got %s", got)
	}
}

// Who asks for several nodes is told in one line of each owner who was told.
func TestAskForSeveral(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1,rpi-1,rpi-10")
	lab.ok("alice", "node acquire rpi-2")
	lab.ok("carol", "node ask rpi-1")
	if got := lab.ok("bob", "node show rpi-1 --json"); !strings.Contains(got, `"asks":[{"by":"carol","since":"2026-11-22T12:00:`) || !strings.Contains(got, `"text":null}]`) {
		t.Errorf("got %s", got)
	}
	lab.pass(2 * time.Minute)
	lab.tell([]step{{
		user: "carol", line: "node ask not:free-nodes",
		stdout: "bob is told at the next login that you ask for pc-1, rpi-10\nbob was told 2 minutes ago that you ask for rpi-1: left alone\nalice is told at the next login that you ask for rpi-2\n",
	}})
}

func TestAskAndGive(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1")
	lab.tell([]step{
		{
			user: "bob", line: "node give pc-1 carol", status: StatusInUse,
			stderr: "walt: carol did not ask for pc-1; nothing changed\n  for that carol types \"node ask pc-1\"\n",
		},
		{user: "carol", line: "node ask pc-1 for the demo", stdout: "bob is told at the next login that you ask for pc-1\n"},
	})
	lab.pass(2 * time.Minute)
	lab.tell([]step{{user: "carol", line: "node ask pc-1", stdout: "bob was told 2 minutes ago that you ask for pc-1: left alone\n"}})
	if got, want := lab.ok("carol", "node ask --json pc-1"), `{"asks":[{"name":"pc-1","owner":"bob","since":"2026-11-22T12:00:00Z","told":false}]}`+"\n"; got != want {
		t.Errorf("got %s", got)
	}
	if got := lab.ok("bob", "node show pc-1"); !strings.Contains(got, `by carol (2 minutes ago): "for the demo"`) {
		t.Errorf("got %s", got)
	}
	lab.tell([]step{
		{user: "bob", line: "node give pc-1 carol --no-reboot", stdout: "pc-1 is carol's and boots walt:carol/pc-x86-64-default at its next start: what it runs goes on\n"},
		{
			user: "bob", line: "node give pc-1 carol", status: StatusFailed,
			stderr: "walt: not yours: pc-1 (owned by carol); nothing changed\n  this is for who owns a node; see your own with: node show\n",
		},
		{user: "bob", line: "node ask pc-1", stdout: "carol is told at the next login that you ask for pc-1\n"},
		{
			user: "carol", line: "node give pc-1 bob --json",
			stdout: `{"cloned":[],"nodes":[{"name":"pc-1","owner":"bob","image":"bob/pc-x86-64-default:latest","previous_owner":"carol","changed":true,"reboot":"ok","reboot_reason":null}]}` + "\n",
		},
	})
}

// Who is connected and did not ask is told of what is offered, and takes it by asking.
func TestGiveToWhoIsConnected(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1")
	lab.online["carol"] = true
	w := lab.store.Watch("notice/carol/")
	defer w.Close()
	given := make(chan answer)
	go func() { given <- lab.run("bob", "node give pc-1 carol", "") }() // ends with the test
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	lab.ok("carol", "node ask pc-1")
	want := answer{
		"pc-1 is carol's and boots walt:carol/pc-x86-64-default: rebooting\n",
		"carol is asked in every open shell, and agrees with \"node ask pc-1\" within a minute.\n", StatusDone,
	}
	if got := <-given; got != want {
		t.Errorf("got %+v", got)
	}
}

// Who waits for an answer does not keep the server from stopping.
func TestGiveEndsWithTheServer(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1")
	lab.online["carol"] = true
	s := lab.session("bob", "")
	s.Waiting = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(fault.New(fault.Interrupted, "the server stops"))
		return ctx, func() { cancel(nil) }
	}
	if got := lab.runIn(t.Context(), s, "node give pc-1 carol"); got.status != StatusInterrupted || !strings.Contains(got.stderr, "walt: the server stops\n") {
		t.Errorf("got %+v", got)
	}
}

// Who does not say anything within a minute is given nothing.
func TestGiveToWhoIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newTestLab(t)
		lab.ok("bob", "node acquire pc-1")
		lab.online["carol"] = true
		began := time.Now()
		lab.tell([]step{{
			user: "bob", line: "node give pc-1 carol", status: StatusInUse,
			stderr: "carol is asked in every open shell, and agrees with \"node ask pc-1\" within a minute.\n" +
				"walt: carol did not ask for pc-1; nothing changed\n  for that carol types \"node ask pc-1\"\n",
		}})
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
