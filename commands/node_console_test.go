package commands

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"walt/auth"
	"walt/fault"
)

// board is the serial line of rpi-1, on which the test is the board.
type board struct {
	*net.TCPConn
	t *testing.T
}

// newBoard connects a lab to such a line.
func newBoard(t *testing.T, lab *testLab) board {
	t.Helper()
	return newBoardAt(t, lab, "tcp://")
}

// newBoardAt connects a lab to such a line in a way.
func newBoardAt(t *testing.T, lab *testLab, scheme string) board {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	lab.must(err)
	defer l.Close()
	lab.ok("alice", "node config rpi-1 serial="+scheme+l.Addr().String())
	lab.must(l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)))
	c, err := l.Accept()
	lab.must(err)
	t.Cleanup(func() { c.Close() })
	shown := ""
	for end := time.Now().Add(time.Minute); !strings.Contains(shown, "(connected)"); shown = lab.ok("alice", "node show rpi-1") {
		if time.Now().After(end) {
			t.Fatal(shown)
		}
	}
	return board{c.(*net.TCPConn), t}
}

func (b board) writes(text string) {
	b.t.Helper()
	if _, err := io.WriteString(b, text); err != nil {
		b.t.Fatal(err)
	}
}

func (b board) reads(want string) {
	b.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil || string(got) != want {
		b.t.Fatalf("the board reads %q, %v; want %q", got, err, want)
	}
}

// visit is a command that goes on while the test looks at it.
type visit struct {
	t    *testing.T
	keys *io.PipeWriter
	over chan int // its status

	mu   sync.Mutex
	seen strings.Builder // of both streams
}

func (v *visit) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen.Write(p)
}

func (v *visit) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen.String()
}

// visits begins a command in a session.
func (lab *testLab) visits(ctx context.Context, s *Session, line string) *visit {
	v := &visit{t: lab.t, over: make(chan int, 1)}
	var in *io.PipeReader
	in, v.keys = io.Pipe()
	s.In, s.Out, s.Err = in, v, v
	lab.t.Cleanup(func() { in.Close() })
	go func() { v.over <- lab.app.Run(ctx, s, line) }()
	return v
}

// sees waits until a text is shown.
func (v *visit) sees(want string) {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(v.text(), want); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			v.t.Fatalf("%q is not shown, but %q", want, v.text())
		}
	}
}

func (v *visit) types(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.keys, text); err != nil {
		v.t.Fatal(err)
	}
}

// ends waits for the end, which has that status.
func (v *visit) ends(status int) {
	v.t.Helper()
	select {
	case got := <-v.over:
		if got != status {
			v.t.Errorf("it ends with status %d, want %d: %q", got, status, v.text())
		}
	case <-time.After(time.Minute):
		v.t.Fatalf("it goes on: %q", v.text())
	}
}

// What a board writes is shown as it is, what is typed goes there, and both go on until the
// key that leaves.
func TestConsole(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	b := newBoard(t, lab)
	b.writes("U-Boot \x1b[1m\xff\r\n")
	bob := lab.visits(t.Context(), lab.terminal("bob"), "node console rpi-1")
	bob.sees("The console of rpi-1. Leave it with Ctrl-].\nU-Boot \x1b[1m\xff\r\n")
	bob.types("\x03root\r\x00")
	b.reads("\x03root\r\x00")
	carol := lab.visits(t.Context(), lab.terminal("carol"), "node console rpi-1")
	carol.sees("bob writes there, and you read. Once bob has left, what you type goes to rpi-1.\nU-Boot")
	b.writes("Password: ")
	for _, v := range []*visit{bob, carol} {
		v.sees("Password: ")
	}
	carol.types("x")
	carol.sees("\r\n[walt: bob writes there, and nobody else]\r\n")
	bob.sees("\r\n[walt: carol would type here, and can once you have left]\r\n")
	dave := lab.visits(t.Context(), lab.terminal("alice"), "node console rpi-1 --read-only")
	dave.sees("Password: ")
	dave.types("nothing\x03")
	dave.ends(StatusDone)
	bob.types("secret\r\x1dnot for it")
	b.reads("secret\r")
	bob.ends(StatusDone)
	carol.types("y")
	carol.sees("[walt: you write now]")
	b.reads("y") // and nothing of what was typed before
	if got := lab.run("bob", "node console rpi-1 --history", ""); got != (answer{"U-Boot \x1b[1m\xff\r\nPassword: ", "", StatusDone}) {
		t.Errorf("the history: %+v", got)
	}
	lab.ok("bob", "node acquire rpi-1")
	carol.ends(StatusFailed)
	carol.sees("walt: rpi-1 changed hands\n")
	if got := lab.run("bob", "node console rpi-1 --history", ""); got != (answer{"", "Nothing that rpi-1 wrote on its console is kept.\n", StatusDone}) {
		t.Errorf("the history of a new owner: %+v", got)
	}
	lab.tell([]step{
		{user: "bob", line: "node console pc-1", status: StatusFailed, stderr: "walt: pc-1 is simulated: it has no console\n  open a shell with: node shell pc-1\n"},
		{user: "bob", line: "node console rpi-1,rpi-2", status: StatusUsage, stderr: "walt: node console: one node at a time\n  usage: node console [--read-only] [--history] [--yes] [--no-input] NODE\n"},
		{user: "bob", line: "node console rpi-1 --history --read-only", status: StatusUsage, stderr: "walt: node console: either --history or --read-only\n  usage: node console [--read-only] [--history] [--yes] [--no-input] NODE\n"},
	})
}

// Who writes sends a BREAK with a key of the own ssh, and is told when that cannot be.
func TestConsoleBreak(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	newBoard(t, lab)
	sits := func(user auth.Name, line string) *visit {
		s, breaks := lab.terminal(user), make(chan struct{})
		s.Breaks = breaks
		v := lab.visits(t.Context(), s, line)
		breaks <- struct{}{}
		return v
	}
	reader := sits("bob", "node console rpi-1 --read-only")
	reader.sees("\r\n[walt: no BREAK was sent: you only read]\r\n")
	reader.types("\x03")
	reader.ends(StatusDone)
	first := sits("bob", "node console rpi-1")
	first.sees("[walt: no BREAK was sent: a raw connection (tcp://) passes on no BREAK]")
	second := sits("carol", "node console rpi-1")
	second.sees("[walt: no BREAK was sent: bob writes there, and nobody else]")
	for _, v := range []*visit{first, second} {
		v.types("\x1d")
		v.ends(StatusDone)
	}
	b := newBoardAt(t, lab, "telnet://")
	sits("bob", "node console rpi-1").sees("[walt: a BREAK was sent]")
	b.reads("\xff\xfb\x00\xff\xfd\x00\xff\xfb\x03\xff\xfd\x03\xff\xfb\x2c" + "\xff\xf3")
}

// Without a terminal all bytes go there, the end of the input ends it, and what was written by
// then is shown.
func TestConsoleWithoutTerminal(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	b := newBoard(t, lab)
	b.writes("login: ")
	first := lab.visits(t.Context(), lab.session("bob", ""), "node console rpi-1")
	first.sees("login: ")
	first.types("\x1droot\n")
	b.reads("\x1droot\n")
	first.keys.Close()
	first.ends(StatusDone)
	if got := lab.run("bob", "node console rpi-1", ""); got != (answer{"login: ", "", StatusDone}) {
		t.Errorf("%+v", got)
	}
	gone, leave := context.WithCancel(t.Context())
	reader := lab.visits(gone, lab.session("bob", ""), "node console rpi-1 --read-only")
	b.writes("more")
	reader.sees("login: more")
	reader.keys.Close() // which is nothing to it
	b.writes("and more")
	reader.sees("and more")
	leave()
	reader.ends(StatusInterrupted)
	if got := lab.ok("bob", "node show rpi-1"); !strings.Contains(got, " (connected)\n") || !strings.Contains(got, "    | login: moreand more\n") {
		t.Errorf("shown is: %s", got)
	}
	if got := lab.ok("bob", "node show rpi-1 --json"); !strings.Contains(got, `"serial":{"at":"tcp://127.0.0.1:`) || !strings.Contains(got, `","connected":true,"reason":null}`) {
		t.Errorf("programs see: %s", got)
	}
	b.Close()
	lost := "what comes as input is lost"
	got := answer{status: StatusDone}
	for end := time.Now().Add(time.Minute); got.status == StatusDone && time.Now().Before(end); { // until it is noticed
		got = lab.run("bob", "node console rpi-1", "reboot\n")
	}
	if got.status != StatusFailed || !strings.Contains(got.stderr, "walt: rpi-1 does not read what is typed: ") || strings.Contains(got.stderr, lost) {
		t.Errorf("to a board that is gone: %+v", got)
	}
}

// The owner is asked for consent, told, and the log has it; mates are not asked.
func TestConsoleOfOthers(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	newBoard(t, lab)
	lab.ok("bob", "node acquire rpi-1")
	for _, line := range []string{"node console rpi-1", "node console rpi-1 --history"} {
		got := lab.run("carol", line, "n\n")
		if got.status != StatusInUse || !strings.Contains(got.stderr, "the console of rpi-1 anyway?") {
			t.Errorf("%s: %+v", line, got)
		}
		if got := lab.run("carol", line+" --yes", ""); got.status != StatusDone {
			t.Errorf("%s: %+v", line, got)
		}
	}
	log := lab.ok("bob", "log show --issuers rpi-1")
	for _, want := range []string{"opened the console", "read the history of the console"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	shown := fmt.Sprint(lab.journal.Unseen(t.Context(), "bob"))
	for _, want := range []string{"carol opened the console of your node rpi-1", "carol read the history of the console of your node rpi-1"} {
		if !strings.Contains(shown, want) {
			t.Errorf("bob is not told that %s: %s", want, shown)
		}
	}
	lab.ok("bob", "node share rpi-1 carol")
	mate := lab.visits(t.Context(), lab.terminal("carol"), "node console rpi-1")
	mate.sees("Leave it with Ctrl-]")
	lab.ok("bob", "node share rpi-1 none")
	mate.ends(StatusFailed)
	mate.sees("bob does not share rpi-1 with you any more")
}

// Only administrators say where a serial line is, and not just anywhere.
func TestWhoSaysWhereASerialLineIs(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{
			user: "bob", line: "node console rpi-1", status: StatusFailed,
			stderr: "walt: rpi-1 has no console: nobody said where its serial line is\n  an administrator does so with: node config rpi-1 serial=tcp://HOST:PORT (see: help show hardware)\n",
		},
		{
			user: "bob", line: "node config rpi-1 boot.retries=1 serial=tcp://192.0.2.1:22", status: StatusFailed,
			stderr: "walt: only administrators say where a serial line is; nothing changed\n  see who is one with: user show\n",
		},
		{user: "bob", line: "node config rpi-1 boot.retries serial", stdout: "NAME   SETTING       VALUE\nrpi-1  boot.retries  9\nrpi-1  serial        none\n"},
		{
			user: "alice", line: "node config rpi-1 serial=192.0.2.1", status: StatusUsage,
			stderr: "walt: serial cannot be \"192.0.2.1\"; nothing changed\n  allowed: none, tcp:// or telnet://HOST:PORT, /dev/ttyUSB0,115200\n",
		},
		{
			user: "alice", line: "node config rpi-1 serial=tcp://169.254.169.254:80", status: StatusFailed,
			stderr: "walt: 169.254.169.254 cannot be where a serial line is: it is a link-local address; nothing changed\n  name the address of a terminal server, or of ser2net\n",
		},
		{user: "alice", line: "node config rpi-1 serial=/dev/ttyUSB0", stdout: "rpi-1 is configured\n"},
		{
			user: "alice", line: "node config rpi-2 serial=/dev/ttyUSB0,9600", status: StatusFailed,
			stderr: "walt: /dev/ttyUSB0,9600 is the serial line of rpi-1; nothing changed\n  if it is not any more: device config rpi-1 serial=none\n",
		},
		{user: "alice", line: "device config rpi-1 serial=none", stdout: "rpi-1 is configured\n"},
		{
			user: "alice", line: "node config pc-1 serial=/dev/ttyUSB0", status: StatusFailed,
			stderr: "walt: pc-1, which is a virtual node, has no setting serial; nothing changed\n" +
				"  it has boot.timeout, boot.retries, boot.args, boot.loader, boot.delay, ram, cpu.cores, boot.root, boot.rescue, ram.overlay, expose\n",
		},
	})
}

// A console ends when the server begins to stop, and says so.
func TestConsoleOfAServerThatStops(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	newBoard(t, lab)
	stopping, stop := context.WithCancel(t.Context())
	s := lab.terminal("bob")
	s.Waiting = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		context.AfterFunc(stopping, func() { cancel(fault.New(fault.Interrupted, "the server is shutting down")) })
		return ctx, func() { cancel(nil) }
	}
	bob := lab.visits(t.Context(), s, "node console rpi-1")
	bob.sees("Leave it with Ctrl-]")
	stop()
	bob.ends(StatusInterrupted)
	bob.sees("walt: the server is shutting down\n  the console goes on when it is back: node console rpi-1\n")
}
