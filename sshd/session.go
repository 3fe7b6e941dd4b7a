package sshd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
	"walt/fault"
)

// session is one session channel.
type session struct {
	srv   *Server
	conn  *conn
	peer  gossh.Conn
	login auth.Login
	ch    gossh.Channel
	tty   *tty // nil when the client asked for none, or was denied it

	// ctx belongs to this session alone: the library's context is shared by all
	// sessions of a connection.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// serving ends, with what users are told, when the server begins to stop.
	serving context.Context
	stop    context.CancelCauseFunc

	in      *inflow
	out     *outlet
	breaks  chan struct{}  // see commands.Session
	denied  bool           // the client asked for a terminal that its key does not permit
	started atomic.Bool    // that the client asked for a command or shell
	line    string         // the command, "" for a shell or a script
	sftp    bool           // the client asked for the subsystem of that name instead
	zone    *time.Location // of the client's clock, as it told; nil: it did not

	base  commands.Session
	input *pipeInput // without a terminal
	told  bool       // a command said already why the session ends
	watch sync.Once  // see watched

	mu       sync.Mutex
	running  context.CancelFunc // cancels the command line that runs
	draining bool               // no further command line
}

// interactive reports whether the session is a shell.
func (x *session) interactive() bool { return x.command() == "" && x.tty != nil }

// command is the line that the session is for: what the key is bound to, or
// else what the client asked for.
func (x *session) command() string { return cmp.Or(x.login.Command, x.line) }

// run runs the session to its end.
func (x *session) run() {
	defer x.srv.removeSession(x)
	x.base = x.commandSession()
	if x.tty != nil {
		go x.tty.pump() // ends with the channel
	} else {
		x.input = &pipeInput{source: x.in}
	}
	// A shell at its prompt, too, ends when it was cancelled.
	settled := context.AfterFunc(x.ctx, func() { time.AfterFunc(x.srv.cancelGrace, x.out.giveUp) })
	status := x.dispatch()
	if context.Cause(x.ctx) == errUnread {
		x.tellUnread()
	}
	settled()
	x.in.discard()
	x.cancel(nil)
	x.hangUp(status)
}

// hangUp closes the channel. A client that still does not take what was written
// before loses the connection.
func (x *session) hangUp(status int) {
	defer time.AfterFunc(x.srv.cancelGrace, func() { _ = x.conn.Close() }).Stop()
	_, _ = x.ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(status)}))
	_ = x.ch.Close()
	x.out.idle()
}

// dispatch does what the session is for; the status is the session's.
func (x *session) dispatch() (status int) {
	defer x.recoverPanic(&status)
	switch line := x.command(); {
	case x.conn.refusal != "":
		x.srv.runner.Tell(&x.base, "walt: "+x.conn.refusal+"\n")
		return commands.StatusInUse
	case x.sftp:
		return x.serveFiles()
	case line != "":
		if !x.login.Restricted { // nobody reads what a CI runner is told
			x.srv.runner.Welcome(x.ctx, &x.base)
		}
		return x.runLine(line)
	case x.tty != nil:
		return newShell(x).loop()
	default:
		return x.script()
	}
}

// script runs every line of the input as a command line. The commands
// themselves get no input.
func (x *session) script() (status int) {
	if x.denied {
		fmt.Fprintln(x.base.Err, "walt: your key permits no terminal: type one command per line, and Ctrl-D at the end")
	}
	for n := 1; ; n++ {
		line, err := x.input.line(x.ctx)
		if err == io.EOF {
			return status
		}
		if err != nil {
			return x.farewell()
		}
		switch line = strings.TrimSpace(line); {
		case line == "" || line[0] == '#':
		case x.srv.runner.Leaves(line):
			return status
		default:
			if status = x.runLine(line); status != commands.StatusDone && x.ctx.Err() == nil {
				fmt.Fprintf(x.base.Err, "walt: script line %d ended with status %d\n", n, status)
			}
		}
	}
}

// farewell tells why a session ends that waited for input.
func (x *session) farewell() (status int) {
	if why := fault.As(context.Cause(x.ctx)); why != nil && !x.told {
		x.srv.runner.Tell(&x.base, "walt: "+why.Msg+"\n")
	}
	return commands.StatusInterrupted
}

// runLine runs one command line and returns its status.
func (x *session) runLine(line string) (status int) {
	return x.work(func(ctx context.Context, cancel context.CancelFunc) int {
		s := x.base
		switch {
		case x.tty != nil:
			x.tty.attach(cancel)
			s.In, s.Ask = &ttyInput{tty: x.tty, ctx: ctx}, x.unlessStopping(x.tty.ask)
		case x.command() != "":
			s.In, s.Ask = x.input, x.unlessStopping(x.ask)
		default:
			s.In, s.Ask = strings.NewReader(""), x.askNobody
		}
		status := x.srv.runner.Run(ctx, &s, line)
		x.told = x.ctx.Err() != nil
		return status
	})
}

// work does what is not interrupted when the server begins to stop, and returns its status:
// a command line, or the subsystem.
func (x *session) work(do func(ctx context.Context, cancel context.CancelFunc) int) (status int) {
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	if !x.beginLine(cancel) {
		return commands.StatusInterrupted
	}
	defer x.endLine()
	ended := make(chan struct{})
	defer close(ended)
	// Both end with the work.
	defer context.AfterFunc(ctx, func() { x.forceEnd(ended) })()
	defer time.AfterFunc(x.srv.keepAlive, func() { x.srv.watch(x.peer, x.login.User, x.conn, ended) }).Stop()
	defer x.recoverPanic(&status)
	return do(ctx, cancel)
}

// beginLine notes that a command runs, unless the session is to end.
func (x *session) beginLine(cancel context.CancelFunc) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.draining {
		return false
	}
	x.running = cancel
	return true
}

// endLine notes that the command ended, and ends the session if it is to.
func (x *session) endLine() {
	if x.tty != nil {
		x.tty.detach()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = nil
	if x.draining {
		x.cancel(errStopping)
	}
}

// waiting derives a context for a command that waits for others: it ends also
// when the server begins to stop, and such a command does not use up the time
// that those get which work.
func (x *session) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(x.serving, func() { cancel(context.Cause(x.serving)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// unlessStopping has a question end when the server begins to stop.
func (x *session) unlessStopping(ask asker) asker {
	return func(ctx context.Context, prompt string) (string, error) {
		ctx, cancel := x.waiting(ctx)
		defer cancel()
		answer, err := ask(ctx, prompt)
		if err != nil && context.Cause(ctx) == errStopping {
			fmt.Fprintln(x.base.Err)
			err = errStopping
		}
		return answer, err
	}
}

type asker = func(ctx context.Context, prompt string) (string, error)

// interrupt cancels the command that runs, if any.
func (x *session) interrupt() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running != nil {
		x.running()
	}
}

// drain ends the session: at once, or when the command that runs has ended.
func (x *session) drain() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.draining = true
	x.stop(errStopping)
	if x.running == nil {
		x.cancel(errStopping)
	}
}

// recoverPanic turns a panic into a status; the user gets a reference to the log.
func (x *session) recoverPanic(status *int) {
	p := recover()
	if p == nil {
		return
	}
	*status = commands.Internal(x.base.Err, x.srv.log, "panic", "user", x.login.User, "panic", p, "stack", string(debug.Stack()))
}

// forceEnd sees to it that a cancelled command ends even though its client does
// not take what it writes; what it has to send to the client otherwise ends with
// the connection.
func (x *session) forceEnd(ended <-chan struct{}) {
	if !within(x.srv.cancelGrace, ended) {
		x.out.giveUp()
		if !within(x.srv.cancelGrace, ended) {
			_ = x.conn.Close()
		}
	}
}

// watch sends keepalives until ended is closed, so that a client which vanished without
// a word loses its connection, and thereby what runs for it.
func (s *Server) watch(peer gossh.Conn, user auth.Name, c *conn, ended <-chan struct{}) {
	for {
		answered := make(chan struct{})
		go func() { // ends with the answer or the connection
			defer close(answered)
			_, _, _ = peer.SendRequest("keepalive@openssh.com", true, nil)
		}()
		if !within(s.keepAlive, answered) {
			s.log.Info("a client does not answer any more", "user", user, "from", c.from)
			_ = c.Close()
			return
		}
		if within(s.keepAlive, ended) {
			return
		}
	}
}

// watched returns the context of the session, and has that end when the client does not answer
// any more, also at the prompt of a shell: others rely on it. TCP alone knows nothing of a
// client that stands still.
func (x *session) watched() context.Context {
	x.watch.Do(func() { go x.srv.watch(x.peer, x.login.User, x.conn, x.ctx.Done()) }) // ends with the session
	return x.ctx
}

// aliveLimit is how long a client may take to answer when somebody is about to rely on it.
const aliveLimit = 5 * time.Second

// alive reports whether the client answers, before ctx ends.
func (x *session) alive(ctx context.Context) bool {
	answered := make(chan bool, 1)
	go func() { // ends with the answer or the connection
		_, _, err := x.peer.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err == nil
	}()
	late := time.NewTimer(aliveLimit)
	defer late.Stop()
	select {
	case is := <-answered:
		return is && x.ctx.Err() == nil
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}

// ask asks a client without a terminal; its answer is a line of its input.
func (x *session) ask(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(x.base.Err, prompt)
	answer, err := x.input.line(ctx)
	if err == nil {
		fmt.Fprintln(x.base.Err) // nobody typed one
	}
	return answer, err
}

// askNobody asks a script, whose input is commands.
func (x *session) askNobody(_ context.Context, prompt string) (string, error) {
	fmt.Fprint(x.base.Err, prompt)
	return "", io.EOF
}
