package sshd

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
)

// options keep the client from looking at the configuration of the machine.
var options = []string{
	"-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
	"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
}

// openSSH is the real client with the keys of a lab in files.
type openSSH struct {
	t   testing.TB
	lab *lab
	dir string
}

func newOpenSSH(t testing.TB, l *lab) *openSSH {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("needs the OpenSSH client: apt-get install openssh-client")
	}
	return &openSSH{t, l, t.TempDir()}
}

// addKey writes a new key of a user to files; a zero login is nobody's.
func (o *openSSH) addKey(name string, login auth.Login) (path string) {
	o.t.Helper()
	private, signer := newKeyPair(o.t)
	block, err := gossh.MarshalPrivateKey(private, name)
	if err != nil {
		o.t.Fatal(err)
	}
	path = filepath.Join(o.dir, name)
	for file, data := range map[string][]byte{path: pem.EncodeToMemory(block), path + ".pub": gossh.MarshalAuthorizedKey(signer.PublicKey())} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	if login.User != "" {
		o.lab.users.allow(signer, login)
	}
	return path
}

// public reads the public half of a key.
func (o *openSSH) public(path string) gossh.PublicKey {
	o.t.Helper()
	data, err := os.ReadFile(path + ".pub")
	if err != nil {
		o.t.Fatal(err)
	}
	key, _, _, _, err := gossh.ParseAuthorizedKey(data)
	if err != nil {
		o.t.Fatal(err)
	}
	return key
}

// command makes a call of the client.
func (o *openSSH) command(program string, args ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(o.lab.addr)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "HOST", host)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*soon)
	o.t.Cleanup(cancel)
	return exec.CommandContext(ctx, program, slices.Concat(options, []string{"-o", "Port=" + port}, args)...)
}

// run runs a call to its end.
func (o *openSSH) run(c *exec.Cmd) (status int, out, errs string) {
	o.t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else if err != nil {
		o.t.Fatal(err)
	}
	return status, stdout.String(), stderr.String()
}

func TestOpenSSH(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	key := o.addKey("id_alice", auth.Login{User: "alice"})
	for _, test := range []struct {
		args      []string
		input     string
		status    int
		out, errs string
	}{
		{[]string{"walt@HOST", "echo", "a", "b"}, "", 0, "a b\n", ""},
		{[]string{"alice@HOST", "fail", "3"}, "", 3, "", "walt: it failed\n"},
		{[]string{"walt@HOST", "ask", "sure?"}, "y\n", 0, "answer \"y\"\n", "sure?\n"},
		{[]string{"walt@HOST", "cat"}, "some input", 0, "some input", ""},
		{[]string{"-T", "walt@HOST"}, "echo one\n# two\nfail 2\n", 2, "one\n", "walt: it failed\n"},
		{[]string{"-T", "walt@HOST"}, "\ufeffecho one\r\n", 0, "one\n", ""},
		{[]string{"-o", "MACs=hmac-sha1", "-o", "Ciphers=aes128-ctr", "walt@HOST", "echo x"}, "", 255, "", ""},
		{[]string{"-o", "KexAlgorithms=diffie-hellman-group14-sha1", "walt@HOST", "echo x"}, "", 255, "", ""},
		{[]string{"-tt", "walt@HOST", "echo x"}, "", 0, "x\r\n", ""},
		{[]string{"-A", "-X", "-o", "SendEnv=HOME", "walt@HOST", "echo x"}, "", 0, "x\n", ""},
		{[]string{"-s", "walt@HOST", "netconf"}, "", 255, "", "subsystem request failed on channel 0"},
		{[]string{"-s", "walt@HOST", "sftp"}, "some files", 0, "alice: some files", "walt: files are told beside\n"},
		{[]string{"-W", "127.0.0.1:1", "walt@HOST"}, "", 255, "", "stdio forwarding failed"},
		{[]string{"-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "-N", "walt@HOST"}, "", 255, "", "remote port forwarding failed"},
		{[]string{"-o", "PubkeyAuthentication=no", "walt@HOST", "echo x"}, "", 255, "", "Permission denied (publickey)."},
		{[]string{"bob@HOST", "echo x"}, "", 255, "", "Permission denied (publickey)."},
	} {
		c := o.command("ssh", append([]string{"-i", key}, test.args...)...)
		c.Stdin = strings.NewReader(test.input)
		status, out, errs := o.run(c)
		if status != test.status || out != test.out || !strings.Contains(errs, test.errs) || test.errs == "" && errs != "" {
			t.Errorf("ssh %q: status %d, out %q, err %q", test.args, status, out, errs)
		}
	}
}

// The story: somebody offers the public key of an administrator, which is
// known and would be let in, and then logs in with a key of their own. A server
// that believes what was offered makes them the administrator.
func TestOfferedKeyIsNotWhoYouAre(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	admin := o.addKey("admin", auth.Login{User: "alice", Admin: true})
	own := o.addKey("own", auth.Login{User: "bob"})
	if err := os.Remove(admin); err != nil { // its public half is left
		t.Fatal(err)
	}
	c := o.command("ssh", "-v", "-o", "LogLevel=DEBUG", "-i", admin+".pub", "-i", own, "walt@HOST", "who")
	status, out, errs := o.run(c)
	if status != 0 || !strings.HasPrefix(out, "bob false ") {
		t.Errorf("status %d, is %q", status, out)
	}
	if !strings.Contains(errs, "Server accepts key: "+admin) {
		t.Errorf("the public key alone was not offered and accepted: %s", errs)
	}
}

// A connection without a session is harmless, and shared by those that come.
func TestOpenSSHControlMaster(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	key, socket := o.addKey("id_alice", auth.Login{User: "alice"}), filepath.Join(o.dir, "s")
	master := o.command("ssh", "-i", key, "-M", "-S", socket, "-N", "walt@HOST")
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { _, err := os.Stat(socket); return err == nil }, func() string { return "no control socket" })
	if l.Online("alice") {
		t.Error("a connection counts as a session")
	}
	for range 3 {
		if status, out, errs := o.run(o.command("ssh", "-S", socket, "walt@HOST", "echo x")); status != 0 || out != "x\n" {
			t.Errorf("status %d, out %q, err %q", status, out, errs)
		}
	}
	if err := master.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = master.Wait()
}

func TestOpenSSHDisconnect(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	c := o.command("ssh", "-i", o.addKey("id_alice", auth.Login{User: "alice"}), "walt@HOST", "wait")
	var out buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "waiting")
	_ = c.Process.Kill()
	_ = c.Wait()
	expectEvent(t, l, "cancelled ")
}

// A person at a real terminal.
func TestOpenSSHTerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	c := o.command("ssh", "-i", o.addKey("id_alice", auth.Login{User: "alice"}), "walt@HOST")
	terminal, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	screen := &buffer{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = terminal.WriteTo(screen)
	}()
	send := func(keys string) {
		if _, err := terminal.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	screen.expect(t, "alice@walt> ")
	send("size\r")
	screen.expect(t, "100x24")
	screen.expect(t, "alice@walt> ")
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 30, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		send("size\r")
		screen.expect(t, "x")
		time.Sleep(10 * time.Millisecond)
		return strings.Contains(screen.String(), "120x30")
	}, func() string { return "the new size is not seen" })
	send("wait\r")
	screen.expect(t, "waiting")
	send("\x03")
	screen.expect(t, "^C\r\nalice@walt> ")
	expectEvent(t, l, "cancelled ")
	send("\x04")
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 130 {
		t.Errorf("status %d, not that of the last command", c.ProcessState.ExitCode())
	}
	<-copied
}

// The story: somebody looks at the first line of much, as in "log show | head -1".
func TestOpenSSHUnreadOutput(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	o := newOpenSSH(t, l)
	c := o.command("ssh", "-i", o.addKey("id_alice", auth.Login{User: "alice"}), "walt@HOST", "flood")
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	expectEvent(t, l, "flood ended")
	if _ = c.Wait(); errs.Len() > 0 {
		t.Errorf("told %q", &errs)
	}
}

// The story: somebody keeps the log open in a pager, as in "log show | less", until
// that is too much for the server. The client learns the status, and the reason if
// it reads in time.
func TestOpenSSHPager(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{true, false} {
		l := newLab(t, func(s *Server) {
			s.backlog.most, s.backlog.grace = perWrite+floodSize, 200*time.Millisecond
			if s.cancelGrace, s.hangUpGrace = soon, soon; !reads {
				s.cancelGrace, s.hangUpGrace = time.Second, 10*time.Millisecond
			}
		})
		o := newOpenSSH(t, l)
		c := o.command("ssh", "-i", o.addKey("id_alice", auth.Login{User: "alice"}), "walt@HOST", "flood")
		var errs bytes.Buffer
		c.Stderr = &errs
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		l.stuck(t, 1)
		l.lazy(t, l.login(t, "bob"), "flood")
		expectEvent(t, l, "flood ended")
		if !reads { // but when all is over
			eventually(t, func() bool { return !l.Online("alice") }, func() string { return "the session does not end" })
		}
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait()
		if status := c.ProcessState.ExitCode(); status != 130 || reads && !strings.HasPrefix(errs.String(), "walt: "+errUnread.Error()) {
			t.Errorf("reads: %v: status %d, told %q", reads, status, &errs)
		}
	}
}
