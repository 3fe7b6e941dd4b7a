package sim

import (
	"io"
	"io/fs"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"
)

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
	if err := s.RequestSubsystem("netconf"); err == nil {
		t.Error("netconf is there")
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

// Stat opens and closes nothing, unlike fs.Stat on its own.
func (e endless) Stat(name string) (fs.FileInfo, error) {
	return fs.Stat(fstest.MapFS{"endless": {}}, name)
}

type endlessFile struct {
	fs.File
	closed chan struct{}
}

func (f endlessFile) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

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
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("it did not happen; all goroutines:\n%s", stacks())
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
