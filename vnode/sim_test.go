package vnode

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"walt/images"
	"walt/nodes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is what the lab is told, or asked ("boot").
type event struct {
	what string
	node nodes.Name
	addr string
}

// fakeLab boots every node on the same image and passes on what it hears.
type fakeLab struct {
	events chan event
	hold   chan struct{} // a boot waits for it, if there is one

	mu    sync.Mutex
	image images.Image
}

func (l *fakeLab) Boot(ctx context.Context, n nodes.Name) (images.Image, error) {
	l.events <- event{"boot", n, ""}
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return images.Image{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.image, nil
}

func (l *fakeLab) Up(n nodes.Name, addr string) { l.events <- event{"up", n, addr} }
func (l *fakeLab) Down(n nodes.Name)            { l.events <- event{"down", n, ""} }

// choose sets what nodes boot from now on.
func (l *fakeLab) choose(digest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.image.Digest = digest
}

// expect waits for the next events, in order, and returns the last one.
func (l *fakeLab) expect(t testing.TB, whats ...string) (e event) {
	t.Helper()
	for i, what := range whats {
		select {
		case e = <-l.events:
		case <-time.After(10 * time.Second):
			t.Fatalf("the lab was not told %q, number %d of %q", what, i+1, whats)
		}
		if e.what != what {
			t.Fatalf("the lab was told %q, want %q, number %d of %q", e.what, what, i+1, whats)
		}
	}
	return e
}

// shelf is a library of file systems.
type shelf map[string]fs.FS

func (s shelf) Files(_ context.Context, digest string) (fs.FS, error) {
	if files, ok := s[digest]; ok {
		return files, nil
	}
	return nil, errors.New("its content is damaged")
}

type lab struct {
	*fakeLab
	sim *Sim
	key ssh.Signer
	log *bytes.Buffer // read it after Close
}

func newLab(t testing.TB, library shelf) *lab {
	l := &lab{fakeLab: &fakeLab{events: make(chan event, 10_000)}, key: newKey(t), log: &bytes.Buffer{}}
	l.choose("one")
	l.sim = NewSim(l, library, l.key.PublicKey(), slog.New(slog.NewTextHandler(l.log, nil)))
	l.sim.Delay = 4 * time.Millisecond
	t.Cleanup(l.sim.Close)
	return l
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// boot starts a node and returns the address that it comes up with.
func (l *lab) boot(t testing.TB, n nodes.Name) string {
	t.Helper()
	l.sim.Start(n)
	return l.expect(t, "boot", "up").addr
}

// login connects to a node as the lab does.
func (l *lab) login(t testing.TB, addr string) *ssh.Client {
	t.Helper()
	c, err := login(addr, "root", ssh.PublicKeys(l.key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func login(addr, user string, with ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: with, Timeout: 10 * time.Second, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
}

// result is how a command on a node ended.
type result struct {
	out, err string
	status   int // -1 without one
}

func run(t testing.TB, c *ssh.Client, command, stdin string) result {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, complaints strings.Builder
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &out, &complaints
	if command == "" {
		err = s.Shell()
	} else {
		err = s.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Wait()
	return result{out.String(), complaints.String(), status(err)}
}

func status(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus()
	}
	return -1
}

func release(name string) fstest.MapFS {
	return fstest.MapFS{"etc/release": {Data: []byte(name + "\n")}}
}

func TestLife(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	addr := l.boot(t, "rpi-1")
	c := l.login(t, addr)
	if r := run(t, c, "hostname; cat /etc/release", ""); r != (result{"rpi-1\none\n", "", 0}) {
		t.Errorf("got %+v", r)
	}
	l.sim.Stop("rpi-1")
	l.expect(t, "down")
	if err := c.Wait(); err == nil {
		t.Error("the connection ended in an orderly way, want it cut")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the node without power takes connections")
	}
	l.sim.Stop("rpi-1") // is off already
	l.sim.Stop("nobody")
	if len(l.events) > 0 {
		t.Errorf("the lab was told %v of nodes that are off", <-l.events)
	}
}

func TestStartCutsThePower(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	c := l.login(t, l.boot(t, "rpi-1"))
	l.choose("two")
	if r := run(t, c, "cat /etc/release", ""); r.out != "one\n" {
		t.Errorf("before it is started again, the node runs %q", r.out)
	}
	l.sim.Start("rpi-1")
	if len(l.events) == 0 {
		t.Error("Start returned before the lab knew that the old run is over")
	}
	addr := l.expect(t, "down", "boot", "up").addr
	if err := c.Wait(); err == nil {
		t.Error("the connection ended in an orderly way, want it cut")
	}
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("after it was started again, the node runs %q", r.out)
	}
}

func TestNewestStartWins(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	l.hold = make(chan struct{})
	l.sim.Start("rpi-1")
	l.expect(t, "boot")
	l.sim.Start("rpi-1") // while it is asking
	l.expect(t, "down", "boot")
	l.choose("two")
	close(l.hold)
	addr := l.expect(t, "up").addr
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("the node runs %q", r.out)
	}
}

func TestStartsAndStopsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	l.sim.Delay = 0
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if i%3 == 0 {
				l.sim.Stop("rpi-1")
			} else {
				l.sim.Start("rpi-1")
			}
		})
	}
	all.Wait()
	l.sim.Stop("rpi-1")
	on, last := false, ""
	for len(l.events) > 0 {
		e := <-l.events
		if e.what == "boot" && on || e.what == "up" && last != "boot" {
			t.Fatalf("%s after %s", e.what, last)
		}
		on, last = e.what != "down", e.what
	}
	if last != "down" {
		t.Errorf("the last thing that the lab heard is %q, want down", last)
	}
}

func TestImageThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	l.choose("broken")
	l.sim.Start("rpi-1")
	l.expect(t, "boot", "down")
	l.choose("one")
	l.boot(t, "rpi-1")
	l.sim.Close()
	if log := l.log.String(); !strings.Contains(log, "rpi-1") || !strings.Contains(log, "its content is damaged") {
		t.Errorf("the log does not tell why: %s", log)
	}
}

func TestReboot(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	addr := l.boot(t, "rpi-1")
	c, other := l.login(t, addr), l.login(t, addr)
	l.choose("two")
	if r := run(t, c, "reboot; echo still here", ""); r != (result{"The system is going down NOW!\n", "", 0}) {
		t.Errorf("reboot answers %+v", r)
	}
	addr = l.expect(t, "down", "boot", "up").addr
	if err := other.Wait(); err == nil {
		t.Error("the other connection ended in an orderly way, want it cut")
	}
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("after its reboot the node runs %q", r.out)
	}
	l.sim.Stop("rpi-1")
	l.expect(t, "down")
}

func TestCloseIsForEver(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	for i := range 10 {
		l.boot(t, nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	l.sim.Close()
	for range 10 {
		l.expect(t, "down")
	}
	l.sim.Start("rpi-1")
	l.sim.Close()
	if len(l.events) > 0 {
		t.Errorf("after Close: %v", <-l.events)
	}
}

func TestBootsInTurns(t *testing.T) {
	t.Parallel()
	const all = 3 * Boots
	l := newLab(t, shelf{"one": release("one")})
	l.sim.Delay = 0
	l.hold = make(chan struct{})
	for i := range all {
		l.sim.Start(nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	for range Boots {
		l.expect(t, "boot")
	}
	time.Sleep(20 * time.Millisecond) // nothing tells that nothing happens
	if len(l.events) > 0 {
		t.Errorf("more than %d nodes boot at once", Boots)
	}
	close(l.hold)
	for ups := 0; ups < all; {
		if e := <-l.events; e.what == "up" {
			ups++
		}
	}
}

func TestWhoGetsIn(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	addr := l.boot(t, "rpi-1")
	for name, try := range map[string]struct {
		user string
		with ssh.AuthMethod
	}{
		"another key":  {"root", ssh.PublicKeys(newKey(t))},
		"another user": {"pi", ssh.PublicKeys(l.key)},
		"a password":   {"root", ssh.Password("")},
	} {
		if c, err := login(addr, try.user, try.with); err == nil {
			c.Close()
			t.Errorf("%s gets in", name)
		}
	}
	if c, err := login(addr, "root"); err == nil {
		c.Close()
		t.Error("nothing at all gets in")
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	c := l.login(t, l.boot(t, "rpi-1"))
	if conn, err := c.Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "unsupported channel type") {
		t.Errorf("forwarding to an address: %v, %v", conn, err)
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("forwarding from an address is possible")
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if ok, err := s.SendRequest("auth-agent-req@openssh.com", true, nil); ok || err != nil {
		t.Errorf("forwarding an agent: %v, %v", ok, err)
	}
	if err := s.Setenv("LANG", "C"); err == nil {
		t.Error("an environment is kept")
	}
	if err := s.RequestSubsystem("sftp"); err == nil {
		t.Error("sftp is there")
	}
	if err := s.Run("true"); err != nil {
		t.Errorf("after all refusals, true: %v", err)
	}
}

// stuck returns what keeps a session busy in the ways that there are.
func stuck() (library shelf, commands []string) {
	return shelf{"one": fstest.MapFS{"big": {Data: make([]byte, 8<<20)}}}, []string{"sleep 1000", "cat", "cat /big", ""}
}

func TestPowerCutEndsAll(t *testing.T) {
	t.Parallel()
	library, commands := stuck()
	l := newLab(t, library)
	addr := l.boot(t, "rpi-1")
	silent, err := net.Dial("tcp", addr) // never logs in
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for _, terminal := range []bool{false, true} {
		for _, command := range commands {
			open(t, l.login(t, addr), command, terminal) // and never read or written
		}
	}
	l.sim.Stop("rpi-1")
	l.expect(t, "down")
	if _, err := io.Copy(io.Discard, silent); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the silent connection: %v", err)
	}
}

// open begins a session whose streams are pipes. It is closed with the client.
func open(t *testing.T, c *ssh.Client, command string, terminal bool) (s *ssh.Session, in io.Writer, out io.Reader) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if terminal {
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
	}
	if in, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if out, err = s.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if command == "" {
		err = s.Shell()
	} else {
		err = s.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, in, out
}

// endless is a file system of one file that does not end and tells when it is
// closed.
type endless struct{ closed chan struct{} }

func (e endless) Open(name string) (fs.File, error) {
	f, err := fstest.MapFS{"endless": {}}.Open(name)
	if name != "endless" || err != nil {
		return f, err
	}
	return endlessFile{f, e.closed}, nil
}

type endlessFile struct {
	fs.File
	closed chan struct{}
}

func (f endlessFile) Read(p []byte) (int, error) { return len(p), nil }

func (f endlessFile) Close() error {
	f.closed <- struct{}{}
	return f.File.Close()
}

func TestClientGoesAway(t *testing.T) { // not parallel: it looks at all goroutines
	files := endless{make(chan struct{})}
	l := newLab(t, shelf{"one": files})
	c := l.login(t, l.boot(t, "rpi-1"))
	for _, terminal := range []bool{false, true} {
		s, _, out := open(t, c, "cat /endless", terminal)
		if _, err := io.CopyN(io.Discard, out, 3<<20); err != nil {
			t.Fatal(err)
		}
		s.Close() // the connection stays
		<-files.closed

		s, _, _ = open(t, c, "sleep 1000", terminal)
		eventually(t, func() bool { return strings.Contains(stacks(), "(*shell).sleep") })
		s.Close()
		eventually(t, func() bool { return !strings.Contains(stacks(), "(*shell)") })
	}
}

// eventually polls until ok, for what nothing else tells of.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("it did not happen; all goroutines:\n%s", stacks())
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// BenchmarkNode tells what a running node costs.
func BenchmarkNode(b *testing.B) {
	l := newLab(b, shelf{"one": release("one")})
	before := memory()
	b.ResetTimer()
	for i := range b.N {
		l.sim.Start(nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	for ups := 0; ups < b.N; {
		if e := <-l.events; e.what == "up" {
			ups++
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(memory()-before)/float64(b.N), "bytes/node")
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
