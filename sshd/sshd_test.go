package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
	"walt/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long a test waits for what must happen, on a busy machine.
const soon = time.Minute

// lab is a server with a few users and a runner of its own.
type lab struct {
	*Server
	addr string // of a lab that listens on TCP
	// connect begins a connection with the server.
	connect func() (net.Conn, error)
	key     map[string]gossh.Signer // by user; "stranger" is nobody's
	users   *fakeUsers
	run     *fakeRunner
	hist    *fakeHistory
	log     *buffer
}

// newLab starts a server that is shut down at the end of the test. change may
// adjust it before it serves.
func newLab(t testing.TB, change ...func(*Server)) *lab {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	l := serveLab(t, listener, func() (net.Conn, error) { return net.Dial("tcp", addr) }, func(s *Server) {
		for _, c := range change {
			c(s)
		}
	})
	l.addr = addr
	return l
}

// serveLab is newLab with a listener, and with what begins connections to it.
func serveLab(t testing.TB, listener net.Listener, connect func() (net.Conn, error), change func(*Server)) *lab {
	t.Helper()
	l := &lab{
		connect: connect,
		key:     map[string]gossh.Signer{},
		users:   &fakeUsers{logins: map[string]auth.Login{}},
		run:     &fakeRunner{later: make(chan struct{}), events: make(chan string, 100), notices: make(chan string), untold: make(chan string, 1)},
		hist:    &fakeHistory{lines: map[auth.Name][]string{}},
		log:     &buffer{},
	}
	for _, name := range []string{"alice", "bob", "stranger"} {
		l.key[name] = newKey(t)
		if name != "stranger" {
			l.users.allow(l.key[name], auth.Login{User: auth.Name(name), Admin: name == "alice"})
		}
	}
	s, err := New(Config{
		HostKeys: []gossh.Signer{newKey(t)},
		Users:    l.users, Runner: l.run, History: l.hist, Nodes: &fakeNodes{booted: make(chan struct{})}, Files: fakeFiles{},
		Log: slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetLimits(Limits{MaxConnections: 2000, LoginGrace: time.Hour})
	l.Server = s
	if change != nil {
		change(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l
}

// fakeFiles answers with what it is sent, and tells something.
type fakeFiles struct{}

func (fakeFiles) Serve(_ context.Context, user auth.Name, in io.Reader, out io.Writer, tell func(error)) error {
	for range 3 {
		tell(fault.Failedf("files are told beside"))
	}
	if _, err := fmt.Fprintf(out, "%s: ", user); err != nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
}

func newKey(t testing.TB) gossh.Signer {
	t.Helper()
	_, signer := newKeyPair(t)
	return signer
}

func newKeyPair(t testing.TB) (ed25519.PrivateKey, gossh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer
}

// dial logs in with keys, offered in their order.
func (l *lab) dial(login string, users ...string) (*gossh.Client, error) {
	var keys []gossh.Signer
	for _, u := range users {
		keys = append(keys, l.key[u])
	}
	nc, err := l.connect()
	if err != nil {
		return nil, err
	}
	return client(nc, &gossh.ClientConfig{
		User: login, Auth: []gossh.AuthMethod{gossh.PublicKeys(keys...)}, HostKeyCallback: gossh.InsecureIgnoreHostKey(),
	})
}

// client logs in on a connection.
func client(nc net.Conn, config *gossh.ClientConfig) (*gossh.Client, error) {
	c, chans, requests, err := gossh.NewClientConn(nc, "", config)
	if err != nil {
		return nil, err
	}
	return gossh.NewClient(c, chans, requests), nil
}

// login logs the user in for the test.
func (l *lab) login(t testing.TB, user string) *gossh.Client {
	t.Helper()
	c, err := l.dial("walt", user)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// running is a session of the Go client.
type running struct {
	*gossh.Session
	t        testing.TB
	in       io.WriteCloser
	out, err *buffer
}

// start opens a session; terminal asks for a pty, and an empty line is a shell.
func start(t testing.TB, c *gossh.Client, terminal bool, line string) *running {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Session: s, t: t, out: &buffer{}, err: &buffer{}}
	s.Stdout, s.Stderr = r.out, r.err
	if r.in, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if terminal {
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
	}
	if line == "" {
		err = s.Shell()
	} else {
		err = s.Start(line)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// send types.
func (r *running) send(keys string) {
	r.t.Helper()
	if _, err := io.WriteString(r.in, keys); err != nil {
		r.t.Fatal(err)
	}
}

// status waits for the end of the session.
func (r *running) status() int {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.Wait() }()
	select {
	case err := <-done:
		if exit, ok := errors.AsType[*gossh.ExitError](err); ok {
			return exit.ExitStatus()
		}
		if err != nil {
			r.t.Fatalf("%v; out: %q err: %q", err, r.out, r.err)
		}
		return 0
	case <-time.After(soon):
		r.t.Fatalf("the session does not end; out: %q err: %q", r.out, r.err)
		return -1
	}
}

// buffer is an output that tests can wait on.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
	pos int // what expect has seen
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// expect waits until text was written after what was expected before.
func (b *buffer) expect(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		i := bytes.Index(b.buf.Bytes()[b.pos:], []byte(text))
		if i >= 0 {
			b.pos += i + len(text)
		}
		return i >= 0
	}, func() string { return fmt.Sprintf("%q does not come; there is %q", text, b) })
}

func eventually(t testing.TB, done func() bool, what func() string) {
	t.Helper()
	for end := time.Now().Add(soon); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what())
		}
	}
}

// fakeUsers lets keys in as auth.Users does.
type fakeUsers struct {
	mu      sync.Mutex
	logins  map[string]auth.Login // by fingerprint
	refused []string
}

func (u *fakeUsers) allow(key gossh.Signer, l auth.Login) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l.Key = gossh.FingerprintSHA256(key.PublicKey())
	u.logins[l.Key] = l
}

func (u *fakeUsers) Login(_ context.Context, key gossh.PublicKey, login string, _ netip.Addr) (auth.Login, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l, ok := u.logins[gossh.FingerprintSHA256(key)]
	switch {
	case !ok:
		return auth.Login{}, auth.Refusal("unknown key")
	case login != "walt" && login != string(l.User):
		return auth.Login{}, auth.Refusal("key of " + string(l.User))
	}
	return l, nil
}

func (u *fakeUsers) Refused(_ context.Context, login, fingerprint string, from netip.Addr, why string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused = append(u.refused, fmt.Sprintf("%s %s %s %s", login, fingerprint, from, why))
	return nil
}

func (u *fakeUsers) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.refused)
}

// fakeHistory keeps lines in memory.
type fakeHistory struct {
	mu    sync.Mutex
	lines map[auth.Name][]string
	reads int
}

func (h *fakeHistory) Lines(_ context.Context, user auth.Name) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	return slices.Clone(h.lines[user]), nil
}

func (h *fakeHistory) Append(_ context.Context, user auth.Name, line string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines[user] = append(h.lines[user], line)
	return nil
}

func (h *fakeHistory) of(user auth.Name) []string {
	lines, _ := h.Lines(context.Background(), user)
	return lines
}

// table is what a lab of 100 nodes prints.
var table = strings.Repeat("rpi-1  rpi-3-b  alice  alice/rpi-3-b-default  up\n", 100)

// floodSize is how much the command flood writes at once, in bytes.
const floodSize = 32 << 10

// fakeRunner has the commands that the tests need.
type fakeRunner struct {
	events  chan string // what commands that wait noticed
	flooded atomic.Int64
	later   chan struct{}
	notices chan string
	untold  chan string

	completing, completed, mostCompleting atomic.Int64
}

func (f *fakeRunner) Run(ctx context.Context, s *commands.Session, line string) int {
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "echo":
		fmt.Fprintln(s.Out, rest)
	case "table":
		fmt.Fprint(s.Out, table)
	case "fail":
		fmt.Fprintln(s.Err, "walt: it failed")
		status, _ := strconv.Atoi(rest)
		return status
	case "who":
		fmt.Fprintln(s.Out, s.User, s.Admin, s.Key, s.Client, s.Terminal != nil)
	case "ask":
		answer, err := s.Ask(ctx, rest)
		switch {
		case ctx.Err() != nil:
			return 130
		case err != nil:
			fmt.Fprintf(s.Err, "\nno answer: %v\n", err)
			return 3
		}
		fmt.Fprintf(s.Out, "answer %q\n", answer)
	case "wait":
		fmt.Fprintln(s.Out, "waiting", rest)
		<-ctx.Done()
		f.events <- "cancelled " + rest
		return 130
	case "hold":
		context.AfterFunc(s.Channel(), func() { f.events <- "released" })
		fmt.Fprintln(s.Out, "held")
	case "cat":
		if _, err := io.Copy(s.Out, s.In); err != nil {
			return 1
		}
	case "raw":
		s.Terminal.Raw(true)
		fmt.Fprintln(s.Out, "ready")
		n, _ := strconv.Atoi(rest)
		p := make([]byte, n)
		if _, err := io.ReadFull(s.In, p); err != nil {
			return 1
		}
		fmt.Fprintf(s.Out, "%q\n", p)
	case "leak": // leaves a goroutine behind that reads
		go func() {
			_, err := s.In.Read(make([]byte, 1))
			f.events <- fmt.Sprint("read ", err)
		}()
	case "size":
		w, h := s.Terminal.Size()
		fmt.Fprintf(s.Out, "%s %dx%d\n", s.Terminal.Name, w, h)
	case "resized":
		<-s.Terminal.Resized
		fmt.Fprintln(s.Out, "ready")
		<-s.Terminal.Resized
		w, h := s.Terminal.Size()
		fmt.Fprintf(s.Out, "%dx%d\n", w, h)
	case "break":
		f.events <- "waits for a BREAK"
		<-s.Breaks
		f.events <- "a BREAK"
		<-ctx.Done()
	case "flood": // does not look at its context
		to := s.Out
		if rest == "stderr" {
			to = s.Err
		}
		for i := 0; ; i++ {
			if rest == "later" && i == 4 {
				<-f.later
			}
			n, err := to.Write(make([]byte, floodSize))
			f.flooded.Add(int64(n))
			if err != nil {
				f.events <- "flood ended"
				return 130
			}
		}
	case "fill": // what the client of the tests takes without reading, then asks
		for range 64 {
			_, _ = s.Out.Write(make([]byte, 32<<10))
		}
		if _, err := s.Ask(ctx, "? "); err != nil {
			return 130
		}
	case "partial":
		fmt.Fprint(s.Out, "no end")
	case "panic":
		panic("a bug")
	default:
		fmt.Fprintf(s.Err, "walt: unknown command %q\n", line[:min(len(line), 20)])
		if len(line) > commands.MaxLine {
			fmt.Fprintln(s.Err, "too long")
		}
		return 2
	}
	return 0
}

func (f *fakeRunner) Leaves(line string) bool { return line == "exit" }

func (f *fakeRunner) Complete(_ context.Context, _ *commands.Session, line string) (int, []string) {
	start := strings.LastIndexByte(line, ' ') + 1
	switch line[start:] {
	case "bug":
		panic("a bug")
	case "slow":
		now := f.completing.Add(1)
		for most := f.mostCompleting.Load(); now > most && !f.mostCompleting.CompareAndSwap(most, now); most = f.mostCompleting.Load() {
		}
		time.Sleep(time.Millisecond)
		f.completing.Add(-1)
		f.completed.Add(1)
	}
	var words []string
	for _, w := range []string{"echo", "fail", "node", "note", "notify", "acquire", "--model=", "plugs@", "rpi-1", "rpi-10", "rpi-2"} {
		if strings.HasPrefix(w, line[start:]) {
			words = append(words, w)
		}
	}
	return start, words
}

// Welcome shows what the test left to be told.
func (f *fakeRunner) Welcome(_ context.Context, s *commands.Session) {
	select {
	case text := <-f.untold:
		fmt.Fprintln(s.Err, text)
	default:
	}
}

func (f *fakeRunner) Tell(s *commands.Session, text string) { io.WriteString(s.Err, text) }

func (f *fakeRunner) Notices(ctx context.Context, _ *commands.Session, show func(string)) error {
	for {
		select {
		case text := <-f.notices:
			show(text)
		case <-ctx.Done():
			return nil
		}
	}
}
