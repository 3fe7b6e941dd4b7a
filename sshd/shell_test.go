package sshd

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

const prompt = "alice@walt> "

// shellOf opens a shell of alice, at its first prompt.
func shellOf(t testing.TB, l *lab) *running {
	t.Helper()
	l.run.untold <- "Welcome, alice."
	r := start(t, l.login(t, "alice"), true, "")
	r.out.expect(t, "Welcome, alice.\r\n"+prompt)
	return r
}

// leave ends a shell and checks its status.
func (r *running) leave(status int) {
	r.t.Helper()
	r.send("\x04")
	if got := r.status(); got != status {
		r.t.Errorf("status %d, want %d", got, status)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	r := shellOf(t, newLab(t))
	r.send("echo one\r")
	r.out.expect(t, "echo one\r\none\r\n"+prompt)
	r.send("\r   \r")
	r.out.expect(t, "\r\n"+prompt+"   \r\n"+prompt)
	r.send("echo ac\x02b\x01\x05!\r") // Ctrl-B, Ctrl-A, Ctrl-E
	r.out.expect(t, "\r\nabc!\r\n"+prompt)
	r.send("echo x\x7fy\x1b[D\x1b[1~\x1bOF\x1b[1;5D\x1b[24~z\r") // what terminals send for such keys
	r.out.expect(t, "\r\nzy\r\n"+prompt)
	r.send("partial\r")
	r.out.expect(t, "no end\r\n"+prompt)
	r.send("fail 3\r")
	r.out.expect(t, "walt: it failed\r\n"+prompt)
	r.leave(3)

	for _, line := range []string{"exit", "  exit "} {
		r = shellOf(t, newLab(t))
		r.send("fail 3\recho x\r" + line + "\r")
		if status := r.status(); status != 0 {
			t.Errorf("%s: status %d", line, status)
		}
	}
}

func TestShellInterrupt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("echo not this\x02\x02\x03") // at the prompt, in the middle of the line
	r.out.expect(t, "^C\r\n"+prompt)
	r.send("\x1b[\x03echo this\r")
	r.out.expect(t, "^C\r\n"+prompt)
	r.out.expect(t, "\r\nthis\r\n"+prompt)
	if strings.Contains(r.out.String(), "\r\nnot this") || slices.Contains(l.hist.of("alice"), "echo not this") {
		t.Errorf("the line was run or remembered: %q", r.out)
	}

	r.send("wait\r")
	r.out.expect(t, "waiting")
	r.send("dropped\x03kept")
	r.out.expect(t, "^C\r\n")
	expectEvent(t, l, "cancelled ")
	r.out.expect(t, prompt+"kept")
	r.send("\x03wait\r\x03") // typed ahead
	expectEvent(t, l, "cancelled ")
	r.send("echo on\r")
	r.out.expect(t, "\r\non\r\n"+prompt)
	r.send("\x1a\x1c\x07echo still\r") // Ctrl-Z, Ctrl-\ and a bell
	r.out.expect(t, "\r\nstill\r\n"+prompt)
	r.leave(0)
}

func TestShellTypeAhead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("wait\r")
	r.out.expect(t, "waiting")
	for range 4 {
		r.send(strings.Repeat("z", typeAhead/2)) // more than is kept
	}
	r.send("\x03")
	expectEvent(t, l, "cancelled ")
	r.out.expect(t, prompt)
	r.send("ask sure:\ry\recho next\r")
	r.out.expect(t, "sure:y\r\nanswer \"y\"\r\n"+prompt)
	r.out.expect(t, "\r\nnext\r\n"+prompt)
	r.send("ask sure:\r\ny\r\n\n")
	r.out.expect(t, "sure:y\r\nanswer \"y\"\r\n"+prompt+"\r\n"+prompt)
	// Lines that end as in a file, the last one not at all.
	r.send("echo a\r\necho b\necho c")
	r.in.Close()
	r.out.expect(t, "\r\na\r\n"+prompt+"echo b\r\nb\r\n"+prompt+"echo c\r\nc\r\n"+prompt)
	if status := r.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestAskOnTerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	for _, test := range []struct {
		keys   string
		status int
		want   string
	}{
		{"nx\x7f\x7fy\r", 0, "sure? nx"},
		{"y\r", 0, "sure? y\r\nanswer \"y\"\r\n"},
		{"\x04", 3, "sure? \r\nno answer: EOF\r\n"},
		{"\x03", 130, "sure? ^C\r\n"},
	} {
		r := start(t, c, true, "ask sure? ")
		r.out.expect(t, "sure? ")
		r.send(test.keys)
		if status := r.status(); status != test.status || !strings.HasPrefix(r.out.String(), test.want) {
			t.Errorf("%q: status %d, out %q", test.keys, status, r.out)
		}
	}
	r := shellOf(t, l)
	r.send("ask \r")
	r.send("\x1b[A\x1b[B\t!\r") // no history and no completion in answers
	r.out.expect(t, "answer \"!\"\r\n"+prompt)
}

func TestTerminalInput(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	r := start(t, c, true, "cat") // by lines
	r.send("onee\x7f\r")
	r.out.expect(t, "\r\none\r\n")
	r.send("two\r\x04")
	r.out.expect(t, "two\r\ntwo\r\n")
	if status := r.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	r = start(t, c, true, "raw 6") // as it is typed
	r.out.expect(t, "ready\n")
	r.send("a\x03\x04\x1b\r\x7f")
	if status := r.status(); status != 0 || r.out.String() != "ready\n\"a\\x03\\x04\\x1b\\r\\x7f\"\n" {
		t.Errorf("status %d, out %q", status, r.out)
	}
	r = start(t, c, true, fmt.Sprint("raw ", 3*typeAhead)) // loses nothing
	r.out.expect(t, "ready\n")
	r.send(strings.Repeat("a", 3*typeAhead))
	if status := r.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	// What a command leaves behind takes no keys from the prompt.
	r = shellOf(t, l)
	r.send("leak\r")
	r.send("echo mine\r")
	r.out.expect(t, "\r\nmine\r\n"+prompt)
	expectEvent(t, l, "read context canceled")
}

func TestHistory(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("echo one\recho two\recho two\r\rfail 1\r")
	r.out.expect(t, "it failed\r\n"+prompt)
	if l.hist.reads != 0 {
		t.Error("the history was read though nobody asked for it")
	}
	r.send("\x1b[A\x1b[A\r")
	r.out.expect(t, "fail 1")
	r.out.expect(t, "two\r\ntwo\r\n"+prompt)
	r.send("echo snmp.community=s3cret\r")
	r.out.expect(t, "s3cret\r\n"+prompt)
	r.leave(0)
	if want, got := []string{"echo one", "echo two", "fail 1", "echo two", "echo snmp.community=(not shown)"}, l.hist.of("alice"); !slices.Equal(got, want) {
		t.Errorf("remembered %q", got)
	}

	for i := range 600 {
		l.hist.lines["alice"] = append(l.hist.lines["alice"], fmt.Sprint("echo n", i))
	}
	r = shellOf(t, l) // the next one
	r.send("half\x1b[A")
	r.out.expect(t, "echo n599")
	r.send("\x1b[B\r")
	r.out.expect(t, "half")
	r.send(strings.Repeat("\x1b[A", 700) + "\r")
	r.out.expect(t, "\r\nn101\r\n"+prompt) // the 500th, "half" being one
	r.leave(0)
	if got := l.hist.of("bob"); len(got) != 0 {
		t.Errorf("bob's history: %q", got)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	r := shellOf(t, newLab(t))
	for _, test := range []struct{ keys, want string }{
		{"ec\tx\r", "\r\nx\r\n"},                      // unique: a space follows
		{"ec\x05\tx\r", "\r\nx\r\n"},                  //
		{"echo --mo\tx\r", "\r\n--model=x\r\n"},       // but not after =
		{"echo pl\tx\r", "\r\nplugs@x\r\n"},           // nor after @
		{"echo no\tx\r", "\r\nnox\r\n"},               // no progress
		{"echo a\t\x01\x05|\r", "\r\nacquire |\r\n"},  //
		{"echo rp\t\r", "\r\nrpi-\r\n"},               // what all share
		{"echo r z\x02\x02\t\r", "\r\nrpi- z\r\n"},    // in the middle
		{"echo aq z\x02\x02\x7f\t\r", "cquire z\r\n"}, // one space is enough
		{"echo zz\t\t\r", "\r\nzz\r\n"},               // nothing to offer
	} {
		r.send(test.keys)
		r.out.expect(t, test.want+prompt)
	}
	r.send("echo rpi-\t\t")
	r.out.expect(t, "rpi-1   rpi-2   rpi-10\r\n"+prompt+"echo rpi-")
	r.send("1\t\r")
	r.out.expect(t, "\r\nrpi-1\r\n"+prompt)
}

func TestCompletionPanics(t *testing.T) {
	t.Parallel()
	r := shellOf(t, newLab(t))
	r.send("echo bug\t\r")
	r.out.expect(t, "something went wrong on the server")
	r.out.expect(t, "\r\nbug\r\n"+prompt)
	r.leave(0)
}

func TestColumns(t *testing.T) {
	for _, test := range []struct {
		width int
		want  string
	}{
		{80, "a    bb   ccc  d    e\n"},
		{14, "a    ccc  e\nbb   d\n"},
		{1, "a\nbb\nccc\nd\ne\n"},
	} {
		if got := inColumns([]string{"a", "bb", "ccc", "d", "e"}, test.width); got != test.want {
			t.Errorf("width %d: %q", test.width, got)
		}
	}
}

// A line that was erased needs no end.
func TestErasedLine(t *testing.T) {
	for _, test := range []struct{ written, want string }{
		{"waiting ...", "waiting ...\r\n"},
		{"waiting ...\r\x1b[K", "waiting ...\r\x1b[K"},
		{"done\n", "done\r\n"},
	} {
		var wire strings.Builder
		tty := newTTY(t.Context(), nil, &wire, "xterm")
		_, _ = tty.Write([]byte(test.written))
		tty.freshLine()
		if wire.String() != test.want {
			t.Errorf("%q is %q, want %q", test.written, wire.String(), test.want)
		}
	}
}

// What is listed fits the window, and people find it where they look for it.
func TestListing(t *testing.T) {
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("--sets=n%d", i))
	}
	slices.Sort(many)
	for _, test := range []struct {
		words         []string
		width, height int
		want          string
	}{
		{many[:4], 40, 10, "n0   n1   n10  n11\n"},
		{many, 16, 6, "n0   n4   n8\nn1   n5   n9\nn2   n6   n10\nn3   n7   n11\n... and 18 more\n"},
		{many, 16, 12, "n0   n10  n20\nn1   n11  n21\nn2   n12  n22\nn3   n13  n23\nn4   n14  n24\nn5   n15  n25\nn6   n16  n26\nn7   n17  n27\nn8   n18  n28\nn9   n19  n29\n"},
		{many, 5, 1, "n0\n... and 29 more\n"},
	} {
		if got := listing(test.words, test.width, test.height); got != test.want {
			t.Errorf("in %d columns and %d rows:\n%swant\n%s", test.width, test.height, got, test.want)
		}
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("echo half")
	r.out.expect(t, "echo half")
	l.run.notices <- "rpi-1 was taken by bob"
	r.out.expect(t, "rpi-1 was taken by bob\r\n"+prompt+"echo half")
	r.send(" done\r")
	r.out.expect(t, "\r\nhalf done\r\n"+prompt)
	r.send("wait\r")
	r.out.expect(t, "waiting")
	l.run.notices <- "rpi-2 as well"
	r.out.expect(t, "\r\nrpi-2 as well\r\n")
	r.send("\x03")
	expectEvent(t, l, "cancelled ")
}

// TestNoticeInRawMode has a notice come while a command has the terminal, which
// then does not turn line feeds into new lines.
func TestNoticeInRawMode(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("raw 1\r")
	r.out.expect(t, "ready\n")
	l.run.notices <- "rpi-1 was taken\n  by bob"
	r.out.expect(t, "\r\nrpi-1 was taken\r\n  by bob\r\n")
	r.send("x")
	r.leave(0)
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l)
	r.send("echo \xff\xfe\r")
	r.out.expect(t, "not valid UTF-8")
	r.send("echo über \u0085\u200b✓\r")
	r.out.expect(t, "\r\nüber ✓\r\n"+prompt)
	r.send("echo " + strings.Repeat("x", 5000))
	r.send("\r")
	r.out.expect(t, "longer than 4096 characters")
	r.send("echo fine\r")
	r.out.expect(t, "\r\nfine\r\n"+prompt)
	if got := l.hist.of("alice"); !slices.Equal(got, []string{"echo über ✓", "echo fine"}) {
		t.Errorf("remembered %q", got)
	}
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := shellOf(t, l) // this prompt has no limit yet
	limits := *l.limits.Load()
	limits.IdleTimeout = 50 * time.Millisecond
	l.SetLimits(limits)
	r.send("wait\r") // who waits for a command is not idle
	r.out.expect(t, "waiting")
	time.Sleep(3 * limits.IdleTimeout)
	r.send("\x03")
	expectEvent(t, l, "cancelled ")
	r.out.expect(t, prompt)
	r.out.expect(t, "\r\nwalt: closed: idle for 50ms\r\n")
	if status := r.status(); status != 130 {
		t.Errorf("status %d", status)
	}
}

func TestKeysPutIdleTimeoutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, typing := io.Pipe()
		tt := newTTY(t.Context(), silent{Reader: keys}, io.Discard, "")
		tt.resize(0, 0)
		go tt.pump()
		e := newEditor(t.Context(), tt, "> ")
		e.idle = time.Minute
		go func() {
			for range 3 {
				time.Sleep(59 * time.Second)
				_, _ = typing.Write([]byte("x"))
			}
		}()
		begun := time.Now()
		if _, err := tt.edit(e); err != errIdle || time.Since(begun) != 3*59*time.Second+time.Minute {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		_ = typing.Close()
	})
}

// silent is a channel whose client is not interested in output.
type silent struct {
	io.Reader
	gossh.Channel
}

func (s silent) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// Whatever is typed, the editor comes back for more, keeps its line bounded,
// and runs nothing that it could not show.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"echo \xff\r", "\x1b[200~x\x1b[201~", "\x1b[" + strings.Repeat("1", 600), "\xe2\x82A\r", "\x03\x1b\x03", "a\r\nb\n\r"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, typed []byte) {
		var d keyDecoder
		var fed strings.Builder
		typed = bytes.ReplaceAll(typed, []byte{ctrlD}, nil) // which ends the session
		for _, b := range append(typed, ctrlC) {
			fed.WriteString(d.decode(b))
		}
		e := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(fed.String() + "last\r"), io.Discard}, "> ")
		_ = e.SetSize(1+len(typed)%40, 5)
		for {
			line, err := e.ReadLine()
			if err != nil {
				t.Fatal(err)
			}
			if len([]rune(line)) > maxTyped || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == '\ufffd' }) {
				t.Errorf("%q", line)
			}
			if line == "last" {
				return
			}
		}
	})
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", 20 * time.Second: "20s", time.Hour + time.Second: "1h0m1s",
	} {
		if got := brief(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
