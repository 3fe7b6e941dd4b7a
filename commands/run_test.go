package commands

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/shlex"

	"walt/fault"
)

// usageOf is the last line of what is said to who types a command wrong.
func (a *App) usageOf(path string) string { return "  usage: " + a.table[a.named[path]].usage() + "\n" }

func TestUsage(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	acquire := lab.app.usageOf("node acquire")
	tooMany := func(verb, from, hint string) string {
		return fmt.Sprintf("walt: node %s: too many arguments, from %q on\n  %s\n%s", verb, from, hint, lab.app.usageOf("node "+verb))
	}
	for _, c := range []struct{ line, stderr string }{
		// Words that are no command.
		{"nod show", "walt: unknown command \"nod\"\n  did you mean node show?\n  usage: node show [--all] [--model MODEL] [--state STATE] [--owner USER] [--free] [--names-only] [--json] [SET]\n"},
		{"lgo", "walt: unknown command \"lgo\"\n  did you mean log?\n  log: show, wait, mark, marks\n"},
		{"node rel rpi-1", "walt: unknown command \"node rel\"\n  did you mean node release?\n  usage: node release [--yes] [--no-input] [--names-only] [--json] SET\n"},
		{"node aquire rpi-1", "walt: unknown command \"node aquire\"\n  did you mean node acquire?\n" + acquire},
		{"walt node aquire", "walt: unknown command \"node aquire\"\n  did you mean node acquire?\n" + acquire},
		{"acquire rpi-1", "walt: unknown command \"acquire\"\n  did you mean node acquire?\n" + acquire},
		{"whoam", "walt: unknown command \"whoam\"\n  did you mean whoami?\n  usage: whoami [--json]\n"},
		{"node tag rpi-1 lora", "walt: unknown command \"node tag\"\n  did you mean device tag?\n" + lab.app.usageOf("device tag")},
		{"device retire rpi-1", "walt: unknown command \"device retire\"\n  did you mean node retire?\n" + lab.app.usageOf("node retire")},
		{"node cancel 1", "walt: unknown command \"node cancel\"\n  did you mean node queue cancel or advanced jobs cancel?\n" + lab.app.usageOf("node queue cancel")},
		{"node frobnicate", "walt: unknown command \"node frobnicate\"\n  see what there is with: node --help\n"},
		{"frobnicate", "walt: unknown command \"frobnicate\"\n  see what there is with: help\n"},
		{"--frobnicate", "walt: unknown command \"--frobnicate\"\n  see what there is with: help\n"},
		{"image", "walt: \"image\" needs a second word: show, inspect, search, clone, load, publish, duplicate, rename, remove\n  more with: image --help\n"},
		{"''", "walt: unknown command \"\"\n  see what there is with: help\n"},

		// Arguments.
		{"node acquire", "walt: node acquire: SET is missing\n" + acquire},
		{"node acquire rpi-1 rpi-2", "walt: node acquire: too many arguments, from \"rpi-2\" on\n  several are joined by commas, without blanks: rpi-1,rpi-2\n" + acquire},
		{"node acquire rpi-1, rpi-2 ,pc-*", "walt: node acquire: too many arguments, from \"rpi-2\" on\n  several are joined by commas, without blanks: rpi-1,rpi-2,pc-*\n" + acquire},
		{"node acquire rpi-1 ../x", "walt: node acquire: too many arguments, from \"../x\" on\n" + acquire},
		{"node boot rpi-1 rpi-2 debian", "walt: node boot: too many arguments, from \"debian\" on\n  several are joined by commas, without blanks: rpi-1,rpi-2\n" + lab.app.usageOf("node boot")},
		{"node acquire rpi-1 --for 2 h", tooMany("acquire", "h", "blanks end the value of an option: --for 2h")},
		{"node acquire --for 2 h rpi-1", tooMany("acquire", "rpi-1", "blanks end the value of an option: --for 2h")},
		{"node acquire rpi-1 --until 2026-11-30 18:00", tooMany("acquire", "18:00", "blanks end the value of an option: --until 2026-11-30T18:00")},
		{"node acquire rpi-1 --note two words", tooMany("acquire", "words", "--note takes one word; several: node note SET TEXT")},
		{"node acquire rpi-1 until 18:00", tooMany("acquire", "until", "did you mean --until?")},
		{"node extend rpi-1 until 18:00", tooMany("extend", "18:00", "did you mean --until?")},
		{"node extend rpi-1 2 h", tooMany("extend", "h", "a length of time is one word: 2h")},
		{"node extend rpi-1 rpi-2 2h", tooMany("extend", "2h", "several are joined by commas, without blanks: rpi-1,rpi-2")},
		{"node share rpi-1 bob carol", tooMany("share", "carol", "several are joined by commas, without blanks, as in rpi-1,rpi-2 and bob,carol")},
		{"node show rpi-1 + rpi-2", tooMany("show", "+", "a set is one word, without blanks: rpi-1+rpi-2")},
		{"node show tag: lora", tooMany("show", "lora", "a set is one word, without blanks: tag:lora")},
		{"node show rpi-1 or rpi-2", tooMany("show", "or", "several are joined by commas, without blanks: rpi-1,rpi-2")},
		{"whoami; node show", "walt: unknown command \"whoami; node\"\n  \";\" is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)\n"},
		{"node show; whoami", "walt: unknown command \"node show;\"\n  \";\" is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)\n"},
		{"whoami x; node show", "walt: whoami: too many arguments, from \"x;\" on\n  \";\" is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)\n  usage: whoami [--json]\n"},
		{"whoami | less", "walt: whoami: too many arguments, from \"|\" on\n  \"|\" is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)\n  usage: whoami [--json]\n"},
		{"node acquire rpi-1 > names", "walt: node acquire: too many arguments, from \">\" on\n  \">\" is for the shell of your own computer, behind a command that begins with ssh (see: help show shell)\n" + acquire},
		{"node acquire --model rpi-3-b", "walt: node acquire: --model goes with --any\n" + acquire},
		{"node acquire --any 1 tag:x+", "walt: a + in the set \"tag:x+\" has a word on one side only\n  + is and: it stands between two words without spaces, as in model:rpi-3-b+tag:lora\n"},
		{"node acquire --any none", "walt: --any: \"none\" is not a positive whole number\n" + acquire},
		{"node acquire --any -1", "walt: --any: \"-1\" is not a positive whole number\n" + acquire},
		{"node wait rpi-1 --timeout soon", "walt: --timeout: \"soon\" is not a length of time\n  it looks like 90s, 5m, 2h or 3d\n"},
		{"log show --history 2026-11-03..2026-11-01", "walt: --history: \"2026-11-03..2026-11-01\" ends before it begins\n  usage: log show [--history RANGE] [--lines N] [--realtime] [--issuers SET] [--type TYPE] [--nodes SET] [--streams GLOB] [--json]\n"},
		{"device add rpi-9", "walt: device add: --mac is missing\n  usage: device add [--mac MAC] [--model MODEL] NAME\n"},
		{"user remove bob --force --heir carol", "walt: user remove: --force or --heir, not both\n  usage: user remove [--force] [--heir USER] [--yes] [--no-input] NAME\n"},

		// Options.
		{"node acquire --modl x", "walt: node acquire: unknown option --modl\n  did you mean --model?\n" + acquire},
		{"whoami --frobnicate", "walt: whoami: unknown option --frobnicate\n  usage: whoami [--json]\n"},
		{"whoami -json", "walt: whoami: unknown option -j\n  did you mean --json?\n  usage: whoami [--json]\n"},
		{"--json whoami", "walt: unknown command \"--json\"\n  did you mean whoami?\n  usage: whoami [--json]\n"},
		{"--frobnicate", "walt: unknown command \"--frobnicate\"\n  see what there is with: help\n"},
		{"help promote", "walt: unknown command \"promote\"\n  did you mean user promote?\n  usage: user promote NAME\n"},
		{"whoami -z", "walt: whoami: unknown option -z\n  usage: whoami [--json]\n"},
		{"whoami --json=perhaps", "walt: whoami: --json takes no value\n  usage: whoami [--json]\n"},
		{"node acquire --any", "walt: node acquire: --any needs a value\n" + acquire},

		// Lines that are none.
		{`node show "rpi`, "walt: the command line has an open quote or a lone backslash at its end\n  close it, as in: \"two words\"\n"},
		{`node show \`, "walt: the command line has an open quote or a lone backslash at its end\n  close it, as in: \"two words\"\n"},
		{"whoami\x1b[2J", "walt: the command line has a control character at byte 7\n  remove it; one command is one line\n"},
		{"who\nami", "walt: the command line has a control character at byte 4\n  remove it; one command is one line\n"},
		{"whoami \u009b2J", "walt: the command line has a control character at byte 8\n  remove it; one command is one line\n"},
		{"whoami \xff", "walt: the command line is not valid UTF-8\n  check the encoding of your terminal or file\n"},
		{"whoami" + strings.Repeat(" ", MaxLine), "walt: the command line is longer than 64 KiB\n  pass long data on standard input\n"},
	} {
		if got, want := lab.run("bob", c.line, ""), (answer{"", c.stderr, StatusUsage}); got != want {
			t.Errorf("%.80q:\ngot  %+v\nwant %+v", c.line, got, want)
		}
	}
}

// TestEmptyArguments types each command with an argument that is empty, as a script does
// whose variable is: it does not pass for one that was left out.
func TestEmptyArguments(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("alice", "node acquire rpi-1")
	before := lab.ok("alice", "log show") + lab.ok("alice", "node show --all")
	for _, cmd := range lab.app.listed() {
		line := cmd.Path
		for i, a := range cmd.Args {
			if cmd.Passes && a.Many {
				break
			}
			want := answer{"", fmt.Sprintf("walt: %s: %s is empty\n  usage: %s\n", cmd.Path, a.Name, cmd.usage()), StatusUsage}
			with := line + " ''"
			for _, b := range cmd.Args[i+1:] { // those that must be there
				if !b.Optional {
					with += " x"
				}
			}
			if got := lab.run("alice", with, ""); got != want {
				t.Errorf("%s:\ngot  %+v\nwant %+v", with, got, want)
			}
			line += " x"
		}
	}
	if after := lab.ok("alice", "log show") + lab.ok("alice", "node show --all"); after != before {
		t.Errorf("something changed:\n%s", after)
	}
	if got := lab.run("alice", "log wait --history full ''", ""); got.status != StatusDone {
		t.Errorf("an empty pattern, which matches everything: %+v", got)
	}
}

func TestLinesThatAreFine(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	whoami := "bob, with the key " + fingerprint("bob") + "\n"
	for line, stdout := range map[string]string{
		"":                         "",
		"# only a comment":         "",
		"whoami":                   whoami,
		"walt whoami":              whoami,
		"\twhoami # me":            whoami,
		`"whoami"`:                 whoami,
		"whoami --":                whoami,
		"node release -- my-nodes": "",
		"whoami" + strings.Repeat(" ", MaxLine-len("whoami")): whoami,
	} {
		if got := lab.run("bob", line, ""); got.status != StatusDone || got.stdout != stdout {
			t.Errorf("%.80q: status %d, %q, want %q", line, got.status, got.stdout, stdout)
		}
	}
	if walt, help := lab.ok("bob", "walt"), lab.ok("bob", "help"); walt != help {
		t.Errorf("walt alone shows %q, not all commands", walt)
	}
}

// Each kind of fault has its status; these are the first of each that a user
// meets.
func TestStatuses(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1")
	lab.tell([]step{
		{user: "carol", line: "node release my-nodes", stderr: "You have no nodes; nothing to do.\n"},
		{
			user: "carol", line: "node boot rpi-9 default", status: StatusFailed,
			stderr: "walt: unknown node rpi-9\n  did you mean rpi-1 or rpi-2 instead of rpi-9?\n",
		},
		{
			user: "carol", line: "node boot rpi-1 a:b:c", status: StatusUsage,
			stderr: "walt: invalid image name \"a:b:c\"\n  an image name is 1 to 63 lower-case letters, digits or -, not ending in -,\n  with an optional :tag of the same (see: help show images)\n",
		},
		{
			user: "carol", line: "node acquire --any 4", status: StatusInUse,
			stderr: "walt: only 3 of the 4 nodes wanted are free; nothing changed\n  wait for them with: node acquire --any 4 --wait\n  see who has the others with: node show --all\n",
		},
	})
	if got := StatusOf(fault.Interrupted + 1); got != StatusFailed {
		t.Errorf("a kind that nobody knows has the status %d", got)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := lab.session("bob", "")
	begun := make(chan struct{})
	waiting.Err = writer(func(b []byte) { // "Waiting for ..."
		if strings.HasPrefix(string(b), "Waiting") {
			close(begun)
		}
	})
	waiting.Out = &bytes.Buffer{}
	go func() { <-begun; cancel() }()
	if status := lab.app.Run(ctx, waiting, "node wait pc-1"); status != StatusInterrupted {
		t.Errorf("status %d", status)
	}
	if got := lab.runIn(ctx, lab.session("bob", ""), "node acquire rpi-1"); got != (answer{"", "walt: interrupted\n", StatusInterrupted}) {
		t.Errorf("%+v", got)
	}
	if got := lab.ok("bob", "node show --names-only"); got != "" {
		t.Errorf("an interrupted command took %q", got)
	}
}

// writer calls a function for each Write.
type writer func([]byte)

func (f writer) Write(b []byte) (int, error) { f(b); return len(b), nil }

// What is no fault is nobody's business but the administrator's.
func TestInternalError(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.store.Close()
	got := lab.run("bob", "node show", "")
	found := regexp.MustCompile(`^walt: something went wrong on the server; an administrator finds the cause in its log under ([A-Z0-9]{8})\n$`).
		FindStringSubmatch(got.stderr)
	if found == nil || got.stdout != "" || got.status != StatusInternal {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"ref=" + found[1], "user=bob", `line="node show"`, "err="} {
		if !strings.Contains(lab.serverLog.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, lab.serverLog)
		}
	}
}

// TestDiskFails has the disk fail: the user is told, and the log has the rest.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.app.Backup = func(context.Context, io.Writer) (string, error) {
		return "", fmt.Errorf("back up the store: %w", &fs.PathError{Op: "write", Path: "/data/backup-1", Err: syscall.EIO})
	}
	lab.tell([]step{{
		user: "alice", line: "advanced backup", status: StatusFailed,
		stderr: "walt: the disk of the server fails: input/output error\n  an administrator must look after it\n",
	}})
	if got := lab.serverLog.String(); strings.Count(got, "/data/backup-1") != 1 {
		t.Errorf("the log has not this file, once:\n%s", got)
	}
}

func TestFaultsCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	var stderr bytes.Buffer
	s := lab.session("bob", "")
	s.Err = &stderr
	err := fault.Failedf("image \x1b]0;owned\x07").WithHint("try\rthis\nand that")
	if status := lab.app.report(t.Context(), s, "", err); status != StatusFailed {
		t.Errorf("status %d", status)
	}
	if want := "walt: image \uFFFD]0;owned\uFFFD\n  try\uFFFDthis\n  and that\n"; stderr.String() != want {
		t.Errorf("%q, want %q", stderr.String(), want)
	}
}

func FuzzSplit(f *testing.F) {
	for _, line := range []string{"", "walt", "node show --all", `a "b c" 'd' \e`, `"`, "a # b", " a\tb\u00a0c  d ", "x\x00", "\xff", "é \u009b"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split(line)
		if err != nil {
			if e := fault.As(err); e == nil || e.Kind != fault.Usage || e.Hint == "" {
				t.Errorf("%q: %v is not a usage fault with a hint", line, err)
			}
			return
		}
		for _, word := range words {
			if !utf8.ValidString(word) || strings.ContainsAny(word, "\x00\x1b\x7f\r\n") {
				t.Errorf("%q: the word %q", line, word)
			}
		}
		found, err := unquote(line)
		if want, wrong := shlex.Split(line); err != nil || wrong != nil || !slices.Equal(found, want) {
			t.Errorf("%q is %q, %v, not %q, %v", line, found, err, want, wrong)
		}
		if len(words) == 0 || words[0] == "walt" {
			return
		}
		var quoted []string
		for _, word := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(word, "'", `'"'"'`)+"'")
		}
		line = "walt " + strings.Join(quoted, " ")
		if again, err := split(line); len(line) <= MaxLine && (err != nil || !slices.Equal(again, words)) {
			t.Errorf("%q is %q, %v, not %q", line, again, err, words)
		}
	})
}

// A client that is gone before it was greeted is no fault of the server.
func TestWelcomeOfWhoIsGone(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lab.app.Welcome(ctx, &Session{User: "bob", Out: io.Discard, Err: io.Discard})
	if log := lab.serverLog.String(); log != "" {
		t.Errorf("logged %s", log)
	}
}
