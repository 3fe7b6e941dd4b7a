//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// session is one command or shell of a client.
type session struct {
	m       *machine
	channel ssh.Channel
	dumb    bool // it gets no terminal

	mu      sync.Mutex
	env     []string
	term    string
	master  *os.File // of the terminal, if the client wants one
	slave   *os.File
	process *os.Process
	started bool

	answered chan struct{} // closed when the client knows that its command has started
}

// Requests of clients, see RFC 4254, section 6.
type (
	ptyRequest struct {
		Term                string
		Columns, Rows, W, H uint32
		Modes               string
	}
	sizeRequest struct{ Columns, Rows, W, H uint32 }
	envRequest  struct{ Name, Value string }
	textRequest struct{ Text string }
)

// serve answers the requests of a channel until it is closed.
func (s *session) serve(requests <-chan *ssh.Request) {
	answered := sync.OnceFunc(func() { close(s.answered) })
	defer answered()
	for r := range requests {
		ok := s.answer(r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if s.started { // by this loop alone
			answered()
		}
	}
	s.hangUp()
}

func (s *session) answer(r *ssh.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text textRequest
	switch r.Type {
	case "pty-req":
		var p ptyRequest
		if s.dumb || s.started || s.master != nil || ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		var err error
		if s.master, s.slave, err = openPTY(); err != nil {
			s.m.log.logf("terminal: %v", err)
			return false
		}
		s.term = p.Term
		return setSize(s.master, p.Columns, p.Rows) == nil
	case "window-change":
		var w sizeRequest
		return s.master != nil && ssh.Unmarshal(r.Payload, &w) == nil && setSize(s.master, w.Columns, w.Rows) == nil
	case "env":
		var e envRequest
		if s.started || len(s.env) == 64 || ssh.Unmarshal(r.Payload, &e) != nil || !strings.HasPrefix(e.Name, "LC_") && e.Name != "LANG" {
			return false
		}
		s.env = append(s.env, e.Name+"="+e.Value)
		return true
	case "signal":
		if ssh.Unmarshal(r.Payload, &text) != nil || s.process == nil {
			return false
		}
		signal := unix.SignalNum("SIG" + text.Text)
		return signal != 0 && unix.Kill(-s.process.Pid, signal) == nil
	case "shell":
		return s.start(nil)
	case "exec":
		return ssh.Unmarshal(r.Payload, &text) == nil && s.start([]string{"-c", text.Text})
	case "subsystem":
		if ssh.Unmarshal(r.Payload, &text) != nil || text.Text != "sftp" {
			return false
		}
		for _, name := range []string{"/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"} {
			if isThere(name) {
				return s.start([]string{"-c", "exec " + name})
			}
		}
		if s.started {
			return false
		}
		s.started = true
		return s.run(exec.Command("/proc/self/exe", sftpWord), rootAccount())
	}
	return false
}

// start runs root's shell with the arguments. Where there is none, or no root yet, the
// words of a small console are understood instead.
func (s *session) start(args []string) bool {
	if s.started {
		return false
	}
	s.started = true
	a := rootAccount()
	if os.Getpid() == 1 || !isThere(a.shell) {
		go s.console(args) // ends with the command, or when the client goes
		return true
	}
	c := exec.Command(a.shell, args...)
	if args == nil {
		c.Args[0] = "-" + a.shell[strings.LastIndex(a.shell, "/")+1:]
	}
	return s.run(c, a)
}

// run runs a program as root.
func (s *session) run(c *exec.Cmd, a account) bool {
	c.Dir = a.home
	if !isThere(c.Dir) {
		c.Dir = "/"
	}
	c.Env = append(s.env, "PATH="+searchPath, "HOME="+a.home, "USER="+a.name, "LOGNAME="+a.name, "SHELL="+a.shell)
	if s.term != "" {
		c.Env = append(c.Env, "TERM="+s.term)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	sent, err := s.connect(c)
	if err == nil {
		err = startKillable(c)
	}
	if s.slave != nil {
		s.slave.Close()
	}
	if err != nil {
		fmt.Fprintf(s.channel.Stderr(), "%s: %v\n", c.Path, err)
		go s.end(127, "") // ends when it is sent
		return true
	}
	s.process = c.Process
	go func() { // ends with the command
		c.Wait() // how it ended is in its state
		sent()
		s.mu.Lock()
		s.process = nil
		s.mu.Unlock()
		ws := c.ProcessState.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			s.end(0, strings.TrimPrefix(unix.SignalName(ws.Signal()), "SIG"))
			return
		}
		s.end(ws.ExitStatus(), "")
	}()
	return true
}

// connect connects a command that is to be started with the channel. What it returns
// waits, when the command has ended, until all output is sent.
func (s *session) connect(c *exec.Cmd) (sent func(), err error) {
	if s.master != nil {
		c.Stdin, c.Stdout, c.Stderr = s.slave, s.slave, s.slave
		c.SysProcAttr.Setctty = true
		go io.Copy(s.master, s.channel) // ends when the channel does
		done := make(chan struct{})
		go func() { // ends when nobody has the terminal, or it is told to below
			io.Copy(s.channel, s.master)
			close(done)
		}()
		return func() { s.drain(done) }, nil
	}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.Stdout, c.Stderr = s.channel, s.channel.Stderr()
	go func() { // ends when the channel does, or when nobody reads
		io.Copy(in, s.channel)
		in.Close()
	}()
	return func() {}, nil
}

// drain waits until what a command left in its terminal is sent. Other processes may
// still have the terminal: they are not waited for.
func (s *session) drain(done chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
			if !readable(s.master) {
				s.master.SetReadDeadline(time.Unix(1, 0)) // ends the copying
			}
		}
	}
}

// readable reports whether there is something to read.
func readable(f *os.File) (yes bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		yes = err == nil && n > 0 && p[0].Revents&unix.POLLIN != 0
	})
	return yes
}

// end tells the client how the command ended, and closes the channel: not before the
// client was answered, to whom a command that ends at once would never have started.
func (s *session) end(status int, signal string) {
	<-s.answered
	if signal != "" {
		s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal      string
			Core        bool
			Text, Words string
		}{Signal: signal}))
	} else {
		s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	}
	s.channel.Close()
}

// hangUp ends what the client left behind.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.master != nil {
		s.master.Close() // the terminal's processes get SIGHUP
	}
	if s.process != nil {
		unix.Kill(-s.process.Pid, unix.SIGHUP)
	}
}

// openPTY opens a terminal.
func openPTY() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var number int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
	}
	return master, slave, err
}

func setSize(master *os.File, columns, rows uint32) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
	})
	return err
}
