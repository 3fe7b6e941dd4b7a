package badger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"walt/e2e/lab"
)

// These make the test binary trace the server that the first one names, with the
// arguments of its own, into the file that the second one names.
const (
	TraceServer = "WALT_TEST_TRACE"
	TraceInto   = "WALT_TEST_TRACE_INTO"
	// TracedServer makes it become that server.
	TracedServer = "WALT_TEST_TRACED"
)

// TestSynchronisedBeforeTheAnswer traces the real server while eight users change
// things through ssh: before the first byte of each answer left, a synchronisation
// of the log that has the change's rows ended, and when it began they all stood
// there. Another user fills logs meanwhile, so that some answers are about the first
// changes in the next one.
//
// Nothing tells of a write into a mapped file but the file: so whenever the server
// is about to synchronise one, it is held until the tracer has read what is there.
func TestSynchronisedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	skipRaced(t)
	canTrace(t)
	const users, crowd = 8, 2000
	s := startTraced(t, users, crowd)
	var asked []question
	var mu sync.Mutex
	var all errgroup.Group
	filled := make(chan struct{})
	for u := range users {
		all.Go(func() error {
			own, err := s.changes(u, filled)
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, own...)
			return err
		})
	}
	all.Go(func() error {
		defer close(filled)
		return s.fillLog(users)
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Kill(); err != nil {
		t.Fatal(err)
	}
	traced := readTrace(t, s.trace)
	for _, q := range asked {
		if err := traced.durable(q); err != nil {
			t.Error(err)
		}
	}
	logs, syncs := map[string]bool{}, 0
	for _, e := range traced.events {
		if e.Kind == "sync" && filepath.Ext(e.File) == ".mem" {
			logs[e.File] = true
			syncs++
		}
	}
	if len(logs) < 2 {
		t.Errorf("only %d log was filled", len(logs))
	}
	t.Logf("%d answers, %d synchronisations of %d logs", len(asked), syncs, len(logs))
}

// canTrace skips a test where no process may trace another.
func canTrace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"none", "-test.run=^$"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err == nil {
		_ = p.Kill()
		_, err = p.Wait()
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("tracing a process: %v", err)
	}
	t.Skipf("tracing a process: %v", err)
}

// tracedServer is a server under trace, and the users' way to it.
type tracedServer struct {
	t     *testing.T
	lab   *lab.Lab
	trace string
}

// startTraced starts a server with so many users and one more, who has nodes to
// fill logs with. Each user has an image "base" and can have a node "own-N".
func startTraced(t *testing.T, users, crowd int) *tracedServer {
	t.Helper()
	dir := t.TempDir()
	program, err := lab.Build(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := lab.NewRegistry(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Stop() })
	l, err := lab.New(dir, program, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Kill() })
	s := &tracedServer{t: t, lab: l, trace: filepath.Join(dir, "trace")}
	var nodes strings.Builder
	for n := range users + 1 {
		fmt.Fprintf(&nodes, "device add own-%d --mac 52:54:01:01:00:%02x --model rpi-3-b\n", n, n)
	}
	for n := range crowd {
		fmt.Fprintf(&nodes, "device add crowd-%d --mac 52:54:01:00:%02x:%02x --model rpi-3-b\n", n, n>>8, n&0xff)
	}
	err = errors.Join(
		registry.Push(lab.Image{Models: []string{"rpi-3-b"}}),
		registry.Push(lab.Image{Models: []string{"rpi-3-b"}, Name: "lab/base:latest"}),
		l.Start(),
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Run(nodes.String(), lab.Admin); err != nil {
		t.Fatal(err)
	}
	for n := range users + 1 {
		if err := l.Add("", name(n)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Run("", name(n), "image", "clone", "lab:lab/base"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if l.Waltd, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	l.Env = append(l.Env, TraceServer+"="+program, TraceInto+"="+s.trace)
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func name(user int) string { return fmt.Sprintf("user-%d", user) }

// question is a change that a user asked for and was told of.
type question struct {
	line string
	key  string // of a row that it wrote
	nth  int    // it was the nth, from 0, who wrote that row
	port int    // the user's
	had  int    // bytes that the user had from the server when asking
}

// trace is what was traced, and where in it the rows and the answers are.
type trace struct {
	events  []tracedEvent
	rows    map[string][]int // by their keys
	answers map[question]int // by the port and the bytes before alone
}

// durable returns an error unless the change was on disk before the answer left.
func (t trace) durable(q question) error {
	written := t.rows[q.key]
	if len(written) <= q.nth {
		return fmt.Errorf("%s: the row %s was written %d times, not %d", q.line, q.key, len(written), q.nth+1)
	}
	at := written[q.nth]
	row := t.events[at]
	left, answered := t.answers[question{port: q.port, had: q.had}]
	begun := map[int]bool{} // by thread: synchronisations that will do
	for i := at; i < len(t.events); i++ {
		switch e := &t.events[i]; {
		case e.Kind == "sync":
			begun[e.Thread] = e.File == row.File && e.End >= row.End
		case e.Kind == "synced" && begun[e.Thread]:
			if answered && left < i {
				return fmt.Errorf("%s: the answer left before %s was on disk up to byte %d", q.line, row.File, row.End)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %s was not synchronised up to byte %d", q.line, row.File, row.End)
}

// changes has a user change things, one after the other, until enough.
func (s *tracedServer) changes(user int, enough <-chan struct{}) (asked []question, err error) {
	c, err := s.dial(user)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.ask("whoami"); err != nil { // nothing that was sent on connecting is taken for an answer
		return nil, err
	}
	node, acquired := fmt.Sprintf("own-%d", user), 0
	for n := 0; ; n++ {
		select {
		case <-enough:
			return asked, nil
		default:
		}
		q := question{line: fmt.Sprintf("image duplicate base copy-%d", n), key: fmt.Sprintf("image/%s/copy-%d:latest", name(user), n)}
		if n%2 == 1 {
			q = question{line: "node acquire " + node, key: "device/" + node, nth: acquired}
			if acquired%2 == 1 {
				q.line = "node release " + node
			}
			acquired++
		}
		q.port = c.port
		if q.had, err = c.ask(q.line); err != nil {
			return asked, err
		}
		asked = append(asked, q)
	}
}

// fillLog takes many nodes and gives them back until a log is full and the next one
// has some of that.
func (s *tracedServer) fillLog(user int) error {
	c, err := s.dial(user)
	if err != nil {
		return err
	}
	defer c.Close()
	first, err := s.newestLog()
	for rest := 2; err == nil && rest > 0; {
		for _, line := range []string{"node acquire crowd-*", "node release crowd-*"} {
			if _, err := c.ask(line); err != nil {
				return err
			}
		}
		var now int
		if now, err = s.newestLog(); now > first {
			rest--
		}
	}
	return err
}

// newestLog is the number of the log that takes the commits.
func (s *tracedServer) newestLog() (number int, err error) {
	logs, err := findLogs(filepath.Join(s.lab.Data(), "state", badgerDir))
	for _, l := range logs {
		if l.size > 0 {
			number = max(number, l.number)
		}
	}
	return number, err
}

// tracedClient is a connection that counts what came from the server.
type tracedClient struct {
	*ssh.Client
	port int
	came *atomic.Int64
}

type countedConn struct {
	net.Conn
	came atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.came.Add(int64(n))
	return n, err
}

func (s *tracedServer) dial(user int) (*tracedClient, error) {
	pem, err := os.ReadFile(s.lab.Key(name(user)))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", s.lab.Address())
	if err != nil {
		return nil, err
	}
	counted := &countedConn{Conn: conn}
	config := &ssh.ClientConfig{User: "walt", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Minute}
	c, channels, requests, err := ssh.NewClientConn(counted, s.lab.Address(), config)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &tracedClient{ssh.NewClient(c, channels, requests), conn.LocalAddr().(*net.TCPAddr).Port, &counted.came}, nil
}

// ask runs a command, which must end with status 0, until its channel is closed. It
// returns how many bytes had come from the server before: it sends nothing that is
// no answer in between, for it is not asked to confirm the request.
func (c *tracedClient) ask(line string) (had int, err error) {
	channel, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		return 0, err
	}
	had = int(c.came.Load())
	if _, err := channel.SendRequest("exec", false, ssh.Marshal(struct{ Line string }{line})); err != nil {
		return 0, err
	}
	said := make(chan string, 1)
	go func() { // ends with the channel
		var text strings.Builder
		_, _ = bufio.NewReader(channel).WriteTo(&text)
		said <- text.String()
	}()
	go func() { // ends with the channel
		b := make([]byte, 1<<10)
		for {
			if _, err := channel.Stderr().Read(b); err != nil {
				return
			}
		}
	}()
	status := "none"
	for r := range requests {
		if r.Type == "exit-status" {
			status = fmt.Sprint(r.Payload)
		}
	}
	if text := <-said; status != "[0 0 0 0]" {
		return 0, fmt.Errorf("%s: status %s: %s", line, status, text)
	}
	_ = channel.Close() // the server has closed it
	return had, nil
}

func readTrace(t *testing.T, path string) trace {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := trace{rows: map[string][]int{}, answers: map[question]int{}}
	for d := json.NewDecoder(f); d.More(); {
		var e tracedEvent
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		at := len(all.events)
		all.events = append(all.events, e)
		switch e.Kind {
		case "row":
			all.rows[e.Key] = append(all.rows[e.Key], at)
		case "answer":
			all.answers[question{port: e.Port, had: e.Begin}] = at
		}
	}
	return all
}

// A check of a trace fails where an answer leaves too early, whatever else is right.
func TestTracesAreChecked(t *testing.T) {
	t.Parallel()
	const answer, row, begin, end = 0, 1, 2, 3
	of := []tracedEvent{
		{Kind: "answer", Port: 7, Begin: 100},
		{Kind: "row", Key: "a", File: "1.mem", End: 50},
		{Kind: "sync", Thread: 1, File: "1.mem", End: 50},
		{Kind: "synced", Thread: 1},
	}
	for _, c := range []struct {
		order []int
		right bool
	}{
		{[]int{row, begin, end, answer}, true},
		{[]int{row, begin, end}, true},
		{[]int{answer, row, begin, end}, false},
		{[]int{row, answer, begin, end}, false},
		{[]int{row, begin, answer, end}, false},
		{[]int{begin, row, end, answer}, false},
		{[]int{row, begin, answer}, false},
		{[]int{begin, end, answer}, false},
	} {
		path := filepath.Join(t.TempDir(), "trace")
		var text strings.Builder
		for _, n := range c.order {
			if err := json.NewEncoder(&text).Encode(of[n]); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readTrace(t, path).durable(question{key: "a", port: 7, had: 100}); (err == nil) != c.right {
			t.Errorf("%v: %v", c.order, err)
		}
	}
}
