// Package lab runs a real lab on loopback for tests and measurements: the
// built server program, a registry with small images, and users with keys of
// their own who come through the OpenSSH client. It knows nothing of the
// server's insides. Its one surprising rule: the first user, Admin, is always
// there, made by the server's own --admin flag.
package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// Admin is the name of the lab's first user.
const Admin = "admin"

// Lab is one server with everything around it. Its fields may be set until the
// first Start. A Lab is used by one goroutine, but Run, SSH, Finish, Dial,
// Address and Signal by any.
type Lab struct {
	Dir      string // holds all that the lab writes; must exist
	Waltd    string // the server program
	Config   string // the server's TOML file
	Registry *Registry
	Env      []string // NAME=VALUE, of the server beside the lab's own

	server *exec.Cmd  // nil when it was ended
	ended  chan error // receives what the server's Wait returned

	mu      sync.Mutex // of what any goroutine may ask for
	address string
	process *os.Process
}

// Build compiles the server program of the module that the caller runs in, as
// "make build" does or with the race detector, and returns its path in dir.
func Build(dir string, race bool) (string, error) {
	waltd := filepath.Join(dir, "waltd")
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", waltd}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if race {
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	}
	build := exec.Command("go", append(args, "walt")...)
	build.Env = env
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build waltd: %w\n%s", err, out)
	}
	return waltd, nil
}

// Simulated is the line of the configuration that says what virtual nodes are.
const Simulated = `kind = "simulated"`

// New prepares a lab in dir: the key of Admin and a configuration whose only
// registry is r, and whose virtual nodes are simulated. Nothing runs yet.
func New(dir, waltd string, r *Registry) (*Lab, error) {
	l := &Lab{Dir: dir, Waltd: waltd, Config: filepath.Join(dir, "walt.toml"), Registry: r}
	config := fmt.Sprintf("[[registry]]\nlabel = \"lab\"\nurl = %q\n\n[docker]\nhost = \"\"\n\n[virtual]\n%s\n", r.URL(), Simulated)
	if err := os.WriteFile(l.Config, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return l, l.NewKey(Admin)
}

// Data is the server's data directory.
func (l *Lab) Data() string { return filepath.Join(l.Dir, "data") }

// Log is the file that holds what the server wrote to its standard error, of
// all its starts.
func (l *Lab) Log() string { return filepath.Join(l.Dir, "waltd.log") }

// Address is where the server that was started last accepts logins.
func (l *Lab) Address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// patience is for how long the lab waits for what takes a second where little else runs:
// that a program answers, or ends.
const patience = time.Minute

var startLine = regexp.MustCompile(`(127\.0\.0\.1:\d+).*(SHA256:[A-Za-z0-9+/]+)`)

// Start starts the server, on a port that is free now, and returns when it
// accepts logins. Further flags go to waltd serve.
func (l *Lab) Start(flags ...string) error {
	if l.server != nil {
		return errors.New("the server runs already")
	}
	log, err := os.OpenFile(l.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{
		"serve", "--config", l.Config, "--data", l.Data(), "--listen", "127.0.0.1:0",
		"--admin", Admin + "=" + l.Key(Admin) + ".pub",
	}
	server := exec.Command(l.Waltd, append(args, flags...)...)
	server.Stderr = log
	server.Env = append(append(os.Environ(), "GORACE=halt_on_error=1"), l.Env...)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	server.Stdout = in
	err = server.Start()
	in.Close()
	if err != nil {
		out.Close()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()

	reader := bufio.NewReader(out)
	out.SetReadDeadline(time.Now().Add(patience))
	line, err := reader.ReadString('\n')
	out.SetReadDeadline(time.Time{})
	go func() { // ends with the server
		io.Copy(io.Discard, reader)
		out.Close()
	}()
	found := startLine.FindStringSubmatch(line)
	if err != nil || found == nil {
		server.Process.Kill()
		<-ended
		written, _ := os.ReadFile(l.Log())
		return fmt.Errorf("waltd did not start (%v): standard output %q, standard error:\n%s", err, line, written)
	}
	l.mu.Lock()
	l.address, l.process = found[1], server.Process
	l.mu.Unlock()
	l.server, l.ended = server, ended
	return l.trust(found[1], found[2])
}

// Meet has the users come to a server at address that the lab did not start, but
// which has the lab's data, and which announced this fingerprint of its host key.
func (l *Lab) Meet(address, fingerprint string) error {
	l.mu.Lock()
	l.address = address
	l.mu.Unlock()
	return l.trust(address, fingerprint)
}

// trust sees that the server shows the host key that it announced, and that a
// server of these data showed before, and makes it the only one that the users'
// clients accept.
func (l *Lab) trust(address, fingerprint string) error {
	var key ssh.PublicKey
	peek := &ssh.ClientConfig{
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error { key = k; return errors.New("seen") },
	}
	if c, err := dial(address, peek); err == nil {
		c.Close()
	}
	if key == nil {
		return fmt.Errorf("the server at %s shows no host key", address)
	}
	if got := ssh.FingerprintSHA256(key); got != fingerprint {
		return fmt.Errorf("the server announced host key %s and shows %s", fingerprint, got)
	}
	line := append([]byte("walt "), ssh.MarshalAuthorizedKey(key)...)
	before, err := os.ReadFile(l.path("known_hosts"))
	switch {
	case err == nil && !bytes.Equal(before, line):
		return fmt.Errorf("the host key changed from %s to %s", before, line)
	case err != nil:
		err = os.WriteFile(l.path("known_hosts"), line, 0o644)
	}
	return err
}

// Running reports whether the server was started and not ended by the lab.
func (l *Lab) Running() bool { return l.server != nil }

// Pid is the process id of the running server.
func (l *Lab) Pid() int { return l.server.Process.Pid }

// Stop asks the server to end, as systemd does, and fails unless it ends in
// time and without an error.
func (l *Lab) Stop() error {
	if l.server == nil {
		return nil
	}
	if err := l.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-l.ended:
		l.server = nil
		if err != nil {
			return fmt.Errorf("the server ended on SIGTERM with: %w", err)
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the server did not end within %v of SIGTERM", patience), l.Kill())
	}
}

// Kill ends the server at once, as a power failure would.
func (l *Lab) Kill() error {
	if l.server == nil {
		return nil
	}
	err := l.Signal(syscall.SIGKILL)
	<-l.ended
	l.server = nil
	return err
}

// Signal sends a signal to the server that was started last.
func (l *Lab) Signal(s syscall.Signal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.process.Signal(s)
}

func (l *Lab) path(name string) string { return filepath.Join(l.Dir, name) }
