package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
)

func TestCommand(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	for _, test := range []struct {
		line     string
		terminal bool
		status   int
		out, err string
	}{
		{"echo a  b", false, 0, "a  b\n", ""},
		{"echo a", true, 0, "a\r\n", ""},
		{"fail 3", false, 3, "", "walt: it failed\n"},
		{"fail 1", true, 1, "walt: it failed\r\n", ""}, // one stream on a terminal
		{"who", false, 0, "alice true " + gossh.FingerprintSHA256(l.key["alice"].PublicKey()) + " 127.0.0.1 false\n", ""},
		{"size", true, 0, "xterm 80x24\r\n", ""},
		{"scp -t x", false, 2, "", "walt: unknown command \"scp -t x\"\n"},
	} {
		r := start(t, c, test.terminal, test.line)
		if status := r.status(); status != test.status || r.out.String() != test.out || r.err.String() != test.err {
			t.Errorf("%s: status %d, out %q, err %q", test.line, status, r.out, r.err)
		}
	}
}

func TestScript(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "bob")
	r := start(t, c, false, "")
	r.send("# a comment\n\n  echo one\r\nfail 3\n\t# another\nask sure?\ncat\necho two\nfail 1")
	r.in.Close()
	if status := r.status(); status != 1 {
		t.Errorf("status %d, not that of the last command", status)
	}
	if want := "one\ntwo\n"; r.out.String() != want {
		t.Errorf("out %q, want %q", r.out, want)
	}
	if !strings.Contains(r.err.String(), "walt: script line 4 ended with status 3\n") {
		t.Errorf("which line failed is not told: %q", r.err)
	}
	if !strings.Contains(r.err.String(), "sure?\nno answer: EOF\n") {
		t.Errorf("a question in a script: %q", r.err)
	}

	r = start(t, c, false, "")
	r.in.Close()
	if status := r.status(); status != 0 {
		t.Errorf("an empty script: status %d", status)
	}
	r = start(t, c, false, "")
	r.send("fail 3\nexit\necho no\n")
	if status := r.status(); status != 3 || r.out.String() != "" {
		t.Errorf("exit: status %d, out %q", status, r.out)
	}
}

func TestScriptLongLine(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "bob")
	r := start(t, c, false, "")
	r.send(strings.Repeat("x", 100<<10) + "\n")
	r.err.expect(t, "too long\n")
	r.send("echo alive\n")
	r.out.expect(t, "alive\n")
	r.send(strings.Repeat("x", 64<<10) + "\n")
	r.in.Close()
	if status := r.status(); status != 2 || strings.Count(r.err.String(), "too long") != 1 {
		t.Errorf("64 KiB is not too long; status %d, err %q", status, r.err)
	}
}

func TestAskWithoutTerminal(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "bob")
	for input, want := range map[string]string{"y\n": `answer "y"`, "n": `answer "n"`, "\n": `answer ""`} {
		r := start(t, c, false, "ask sure? ")
		r.send(input)
		r.in.Close()
		if status := r.status(); status != 0 || r.out.String() != want+"\n" || r.err.String() != "sure? \n" {
			t.Errorf("%q: status %d, out %q, err %q", input, status, r.out, r.err)
		}
	}
	r := start(t, c, false, "ask sure? ")
	r.in.Close()
	if status := r.status(); status != 3 || !strings.Contains(r.err.String(), "no answer: EOF") {
		t.Errorf("end of input: status %d, err %q", status, r.err)
	}
}

func TestInputReachesCommand(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "bob")
	r := start(t, c, false, "cat")
	text := strings.Repeat("a line\n", 50000)
	r.send(text)
	r.in.Close()
	if status := r.status(); status != 0 || r.out.String() != text {
		t.Errorf("status %d, %d bytes of %d", status, len(r.out.String()), len(text))
	}
}

// The end of the input is not the end of the client.
func TestEndOfInputDoesNotCancel(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, terminal := range []bool{false, true} {
		r := start(t, l.login(t, "bob"), terminal, "wait")
		r.in.Close()
		r.out.expect(t, "waiting")
		select {
		case e := <-l.run.events:
			t.Fatalf("terminal %v: %s", terminal, e)
		case <-time.After(50 * time.Millisecond):
		}
		_ = r.Session.Close()
		expectEvent(t, l, "cancelled ")
	}
}

func expectEvent(t *testing.T, l *lab, want string) {
	t.Helper()
	select {
	case e := <-l.run.events:
		if e != want {
			t.Fatalf("%q instead of %q", e, want)
		}
	case <-time.After(soon):
		t.Fatalf("no %q", want)
	}
}

func TestSessionsOfOneConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	one, two := start(t, c, false, "wait one"), start(t, c, true, "wait two")
	one.out.expect(t, "waiting")
	two.out.expect(t, "waiting")
	_ = one.Session.Close()
	expectEvent(t, l, "cancelled one")
	if r := start(t, c, false, "echo alive"); r.status() != 0 {
		t.Error("the connection is of no use any more")
	}
	_ = c.Close()
	expectEvent(t, l, "cancelled two")
}

func TestSignals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	for _, sig := range []gossh.Signal{gossh.SIGINT, gossh.SIGTERM, gossh.SIGHUP} {
		r := start(t, c, false, "wait")
		r.out.expect(t, "waiting")
		for range 200 { // nobody needs to listen
			if err := r.Signal(gossh.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Signal(sig); err != nil {
			t.Fatal(err)
		}
		expectEvent(t, l, "cancelled ")
		if status := r.status(); status != 130 {
			t.Errorf("%s: status %d", sig, status)
		}
	}
	// A script ends as a whole, a shell goes on.
	r := start(t, c, false, "")
	r.send("wait\necho no\n")
	r.out.expect(t, "waiting")
	_ = r.Signal(gossh.SIGINT)
	if status := r.status(); status != 130 || strings.Contains(r.out.String(), "no") {
		t.Errorf("script: status %d, out %q", status, r.out)
	}
	r = start(t, c, true, "")
	r.send("wait\r")
	r.out.expect(t, "waiting")
	_ = r.Signal(gossh.SIGINT)
	r.send("echo go''on\rexit\r")
	r.out.expect(t, "go''on\r\n")
	if status := r.status(); status != 0 {
		t.Errorf("shell: status %d", status)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "alice")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Session: s, t: t, out: &buffer{}, err: &buffer{}}
	s.Stdout = r.out
	if err := s.RequestPty("vt100\x1b[2J", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 50 { // before the command, which hangs other servers
		if err := s.WindowChange(30+i, 100+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start("size"); err != nil {
		t.Fatal(err)
	}
	if status := r.status(); status != 0 || r.out.String() != "vt100?[2J 149x79\r\n" {
		t.Errorf("status %d, out %q", status, r.out)
	}

	for _, term := range []string{"", "unknown", "dumb"} {
		if s, err = c.NewSession(); err != nil {
			t.Fatal(err)
		}
		r = &running{Session: s, t: t, out: &buffer{}, err: &buffer{}}
		s.Stdout = r.out
		if err := errors.Join(s.RequestPty(term, 0, 0, nil), s.Start("size")); err != nil {
			t.Fatal(err)
		}
		if status := r.status(); status != 0 || r.out.String() != "dumb 80x24\r\n" {
			t.Errorf("TERM=%s: status %d, out %q", term, status, r.out)
		}
	}

	r = start(t, c, true, "resized")
	r.out.expect(t, "ready")
	for i := range 50 {
		_ = r.WindowChange(30, 100+i)
	}
	r.out.expect(t, "x30")
	if status := r.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// Single commands are told too, but not those of a key that belongs to a machine.
func TestWelcome(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.users.allow(l.key["bob"], auth.Login{User: "bob", Restricted: true})
	l.run.untold <- "you lost a node"
	for _, test := range []struct{ user, err string }{{"bob", ""}, {"alice", "you lost a node\n"}} {
		r := start(t, l.login(t, test.user), false, "echo done")
		if status := r.status(); status != 0 || r.err.String() != test.err {
			t.Errorf("%s: status %d, err %q", test.user, status, r.err)
		}
	}
}

func TestForcedCommand(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.users.allow(l.key["bob"], auth.Login{User: "bob", Command: "echo forced", Restricted: true})
	c := l.login(t, "bob")
	for _, terminal := range []bool{false, true} {
		for _, line := range []string{"", "echo free"} {
			r := start(t, c, terminal, line)
			if status := r.status(); status != 0 || strings.TrimSpace(r.out.String()) != "forced" {
				t.Errorf("terminal %v, %q: status %d, out %q", terminal, line, status, r.out)
			}
		}
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	r := start(t, c, false, "panic")
	if status := r.status(); status != 70 {
		t.Errorf("status %d", status)
	}
	_, ref, _ := strings.Cut(strings.TrimSpace(r.err.String()), " under ")
	if ref == "" || !strings.Contains(l.log.String(), "ref="+ref) {
		t.Errorf("reference %q in %q is not in the log", ref, r.err)
	}
	r = start(t, c, false, "")
	r.send("panic\necho alive\n")
	r.in.Close()
	if status := r.status(); status != 0 || r.out.String() != "alive\n" {
		t.Errorf("the script did not go on: %d, %q", status, r.out)
	}
}

// A BREAK comes to who waits for one, and to nobody later.
func TestBreak(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go gossh.DiscardRequests(requests)
	asks := func() (granted bool) {
		t.Helper()
		granted, err := ch.SendRequest("break", true, gossh.Marshal(struct{ Milliseconds uint32 }{1000}))
		if err != nil {
			t.Fatal(err)
		}
		return granted
	}
	if asks() {
		t.Error("a BREAK goes to nobody")
	}
	if ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Line string }{"break"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	expectEvent(t, l, "waits for a BREAK")
	for !asks() { // until it does
	}
	expectEvent(t, l, "a BREAK")
	if asks() {
		t.Error("another BREAK goes to nobody")
	}
}

// A client that takes no output cannot hold a cancelled command.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(s *Server) { s.cancelGrace = 50 * time.Millisecond })
	c := l.login(t, "alice")
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go gossh.DiscardRequests(requests)
	if _, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Line string }{"flood"})); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.SendRequest("signal", false, gossh.Marshal(struct{ Name string }{"INT"})); err != nil {
		t.Fatal(err)
	}
	expectEvent(t, l, "flood ended")
}

// Ctrl-C works all the same when nothing of the output is taken.
func TestInterruptWithoutReading(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(s *Server) { s.cancelGrace = 50 * time.Millisecond })
	c := l.login(t, "alice")
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go gossh.DiscardRequests(requests)
	terminal := struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{Term: "xterm"}
	if ok, err := ch.SendRequest("pty-req", true, gossh.Marshal(terminal)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Line string }{"flood"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := ch.Write([]byte{ctrlC}); err != nil {
		t.Fatal(err)
	}
	expectEvent(t, l, "flood ended")
}

// Nor one that does not even answer that its session is closed.
func TestClientThatHangs(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(s *Server) { s.cancelGrace = 50 * time.Millisecond })
	c, cable := l.cable(t)
	other, flood := start(t, c, false, "wait"), start(t, c, false, "flood")
	other.out.expect(t, "waiting")
	flood.out.expect(t, "\x00")
	close(cable.stall)
	if err := flood.Signal(gossh.SIGINT); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{<-l.run.events, <-l.run.events} {
		if e != "flood ended" && e != "cancelled " {
			t.Error(e)
		}
	}
}

// A client whose cable was pulled says nothing any more, not even goodbye.
func TestClientThatVanishes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c, cable := l.cable(t)
		r := start(t, c, false, "wait")
		r.out.expect(t, "waiting")
		select {
		case e := <-l.run.events:
			t.Fatalf("%s though the client answers", e)
		case <-time.After(3 * l.keepAlive):
		}
		close(cable.cut)
		expectEvent(t, l, "cancelled ")
	})
}

// A shell at its prompt in which something is held ends within a minute when its client says
// nothing any more. One in which nothing is may be asleep.
func TestShellThatVanishes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c, cable := l.cable(t)
		r := start(t, c, true, "")
		r.out.expect(t, "> ")
		r.send("hold\r")
		r.out.expect(t, "held")
		r.out.expect(t, "> ")
		asleep, other := l.cable(t)
		idle := start(t, asleep, true, "")
		idle.out.expect(t, "> ")
		close(other.cut)
		select {
		case e := <-l.run.events:
			t.Fatalf("%s though the client answers", e)
		case <-time.After(10 * l.keepAlive):
		}
		close(cable.cut)
		cut := time.Now()
		expectEvent(t, l, "released")
		if took := time.Since(cut); took > 2*l.keepAlive || 2*l.keepAlive > time.Minute {
			t.Errorf("it took %v", took)
		}
		idle.send("hold\r")
		idle.send("exit\r")
		expectEvent(t, l, "released")
	})
}

// cable is what a client hears of the server: nothing any more once it is cut,
// and not even that it takes what comes once it stalls.
type cable struct {
	net.Conn
	cut, stall, end chan struct{}
}

// cable logs alice in over a cable.
func (l *lab) cable(t *testing.T) (*gossh.Client, *cable) {
	t.Helper()
	server, err := l.connect()
	if err != nil {
		t.Fatal(err)
	}
	w := &cable{server, make(chan struct{}), make(chan struct{}), make(chan struct{})}
	c, err := client(w, l.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(w.end)
		_ = c.Close()
	})
	return c, w
}

func (w *cable) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		select {
		case <-w.stall:
			<-w.end
		case <-w.cut:
			if err == nil {
				continue
			}
		default:
		}
		return n, err
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	idle, script, busy := start(t, c, true, ""), start(t, c, false, ""), start(t, c, false, "cat")
	idle.out.expect(t, "alice@walt> ")
	script.send("echo begun\n")
	script.out.expect(t, "begun")
	busy.send("begun\n")
	busy.out.expect(t, "begun")
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.Shutdown(ctx) }()
	for _, r := range []*running{idle, script} {
		if status := r.status(); status != 130 || !strings.Contains(r.out.String()+r.err.String(), "the server is shutting down") {
			t.Errorf("status %d, out %q, err %q", status, r.out, r.err)
		}
	}
	if _, err := c.NewSession(); err == nil {
		s, _ := c.NewSession()
		if err := s.Start("echo late"); err == nil {
			t.Error("a new command runs")
		}
	}
	if c, err := l.dial("walt", "bob"); err == nil {
		c.Close()
		t.Error("a new connection")
	}
	busy.send("still there\n")
	busy.out.expect(t, "still there")
	busy.in.Close()
	if status := busy.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCancels(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		r := start(t, l.login(t, "alice"), false, "wait")
		r.out.expect(t, "waiting")
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := l.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		expectEvent(t, l, "cancelled ")
		if status := r.status(); status != 130 {
			t.Errorf("status %d", status)
		}
	})
}

// TestCut ends what somebody does whose key was removed, and nothing else.
func TestCut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		c := l.login(t, "alice")
		command, shell, bob := start(t, c, false, "wait"), start(t, c, true, ""), start(t, l.login(t, "bob"), false, "cat")
		command.out.expect(t, "waiting")
		shell.out.expect(t, prompt)
		l.Cut("alice", "SHA256:of-another-key")
		l.Cut("bobby", "")
		if !l.Online("alice") {
			t.Error("cut for another key")
		}
		l.Cut("alice", "")
		shell.out.expect(t, "alice is no longer a user of this lab")
		expectEvent(t, l, "cancelled ")
		eventually(t, func() bool { return !l.Online("alice") }, func() string { return "still online" })
		closed := make(chan error, 1)
		go func() { closed <- c.Wait() }()
		select {
		case <-closed:
		case <-time.After(soon):
			t.Error("the connection stays")
		}
		if !l.Online("bob") {
			t.Error("bob was cut as well")
		}
		bob.in.Close()
		if status := bob.status(); status != 0 {
			t.Errorf("bob: status %d", status)
		}
	})
}

// A command that cannot write since its client is gone is cancelled by then: that is no
// failure of the server.
func TestWriteToNobody(t *testing.T) {
	t.Parallel()
	c := &conn{srv: newLab(t).Server}
	c.sent.init()
	ctx, cancel := context.WithCancelCause(t.Context())
	out := newOutlet(c, func(time.Duration) {}, func() { cancel(errGone) })
	defer out.giveUp()
	closed, nobody := io.Pipe()
	closed.Close()
	if _, err := (stream{out, nobody}).Write([]byte("x")); err == nil || context.Cause(ctx) != errGone {
		t.Errorf("written: %v; the session ends for %v", err, context.Cause(ctx))
	}
}

func TestOnline(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	if l.Online("alice") {
		t.Error("online without a session")
	}
	one, two := start(t, c, false, "cat"), start(t, c, false, "cat")
	if !l.Online("alice") || l.Online("bob") {
		t.Error("not online with two sessions")
	}
	one.in.Close()
	one.status()
	if !l.Online("alice") {
		t.Error("not online with one session")
	}
	two.in.Close()
	two.status()
	eventually(t, func() bool { return !l.Online("alice") }, func() string { return "online without a session" })
}
