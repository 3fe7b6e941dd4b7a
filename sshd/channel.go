package sshd

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"charm.land/ssh"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
)

const (
	// maxSessions is how many sessions one connection may have open.
	maxSessions = 128
	// maxRefusing is how many refusals of channels may be on their way to one client: more
	// than OpenSSH's asks for at once, which has a file open for each.
	maxRefusing = 2048
)

var (
	errGone        = errors.New("the client is gone")
	errInterrupted = errors.New("interrupted by the client")
)

// accept opens a session channel and answers its requests until it closes.
func (s *Server) accept(_ *ssh.Server, peer *gossh.ServerConn, open gossh.NewChannel, ctx ssh.Context) {
	c := ctx.Value(connKey{}).(*conn)
	login, ok := peer.Permissions.ExtraData[loginKey{}].(auth.Login)
	if !ok {
		c.refuse(open, gossh.Prohibited, "nobody is logged in") // cannot be: there is no other way in
		return
	}
	defer c.sessions.Add(-1)
	if c.sessions.Add(1) > maxSessions {
		c.refuse(open, gossh.ResourceShortage, "too many sessions on one connection")
		return
	}
	ch, requests, err := open.Accept()
	if err != nil {
		return // the connection is gone
	}
	x := &session{srv: s, conn: c, peer: peer, login: login, ch: ch, breaks: make(chan struct{})}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	x.serving, x.stop = context.WithCancelCause(context.Background())
	defer x.stop(nil)
	x.out = newOutlet(c, x.tooMuchUnread, func() { x.cancel(errGone) })
	defer x.out.giveUp()
	x.in = newInflow(c, login.User, x.inputUnread)
	defer x.in.discard()
	go x.in.pump(ch)      // both end with the channel
	go drain(ch.Stderr()) // RFC 4254, section 5.2: none is defined for what clients send
	// The requests end with the channel: the client closed it, or its
	// connection is gone. That its input ended is not seen here.
	defer x.cancel(errGone)
	for r := range requests {
		x.answer(r)
	}
}

// refuse tells a client why a channel is not opened, on one line. A client that takes none of
// the answers, and asks on and on, loses its connection: the library reads what it asks for
// without an end.
func (c *conn) refuse(open gossh.NewChannel, reason gossh.RejectionReason, why string) {
	defer c.refusing.Add(-1)
	if n := c.refusing.Add(1); n > maxRefusing {
		if n == maxRefusing+1 { // once
			c.srv.mu.Lock()
			user := c.holder.User
			c.srv.mu.Unlock()
			c.srv.log.Warn("a client that takes no answers asks for more and more channels: its connection is closed", "user", user, "from", c.from)
		}
		_ = c.Close()
		return
	}
	_ = open.Reject(reason, printable(strings.ReplaceAll(why, "\n", "; "), 500))
}

// answer does what the client requests of a session (RFC 4254, section 6).
// It must not wait for commands or output: the requests and data of all
// sessions of the connection would wait as well.
func (x *session) answer(r *gossh.Request) {
	granted := false
	switch r.Type {
	case "pty-req":
		granted = x.openTerminal(r.Payload)
	case "window-change":
		granted = x.resize(r.Payload)
	case "signal":
		x.signal(r.Payload)
	case "break": // RFC 4335; for how long is not ours to say
		select {
		case x.breaks <- struct{}{}:
			granted = true
		default: // no console is open, or one is sent
		}
	case "env":
		granted = x.setZone(r.Payload)
	case "eow@openssh.com": // nobody reads the output any more (OpenSSH's PROTOCOL, section 2.1)
		x.out.unread.Store(true)
		x.cancel(errGone)
	case "shell", "exec", "subsystem":
		if x.started.Load() || !x.srv.addSession(x) {
			break
		}
		var exec struct{ Line string }
		x.sftp = r.Type == "subsystem"
		bad := r.Type != "shell" && gossh.Unmarshal(r.Payload, &exec) != nil
		if bad || x.sftp && (exec.Line != "sftp" || x.tty != nil) {
			x.srv.removeSession(x)
			break
		}
		x.conn.ackAtOnce.Store(false)
		if !x.sftp {
			x.line = exec.Line
		}
		x.started.Store(true)
		_ = r.Reply(true, nil)
		go x.run() // ends with the command, which ends with the channel
		return
	}
	// Neither other subsystems nor agent, X11, or what is unknown.
	_ = r.Reply(granted, nil)
}

// openTerminal takes a request for a terminal.
func (x *session) openTerminal(payload []byte) bool {
	var r struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if x.started.Load() || x.tty != nil || gossh.Unmarshal(payload, &r) != nil {
		return false
	}
	if x.login.NoTerminal {
		x.denied = true
		return false
	}
	x.tty = newTTY(x.ctx, x.in, stream{x.out, x.ch}, terminalName(r.Term))
	x.tty.resize(r.Columns, r.Rows)
	return true
}

// setZone takes the zone of the client's clock from its environment, of which nothing else
// is of use here. One that is not known is left to the server's.
func (x *session) setZone(payload []byte) bool {
	var r struct{ Name, Value string }
	if x.started.Load() || gossh.Unmarshal(payload, &r) != nil || r.Name != "TZ" {
		return false
	}
	x.zone = zoneCalled(r.Value)
	return true
}

// resize takes the new size of the client's window.
func (x *session) resize(payload []byte) bool {
	var r struct{ Columns, Rows, Width, Height uint32 }
	if x.tty == nil || gossh.Unmarshal(payload, &r) != nil {
		return false
	}
	x.tty.resize(r.Columns, r.Rows)
	return true
}

// signal takes a signal: INT is for the command that runs in a shell, and
// otherwise, like TERM and HUP, for the whole session.
func (x *session) signal(payload []byte) {
	var r struct{ Name string }
	if gossh.Unmarshal(payload, &r) != nil {
		return
	}
	switch r.Name {
	case "INT":
		if x.interactive() {
			x.interrupt()
			return
		}
		x.cancel(errInterrupted)
	case "TERM", "HUP":
		x.cancel(errInterrupted)
	}
}

// commandSession is the session as commands see it, but for the input.
func (x *session) commandSession() commands.Session {
	c := commands.Session{User: x.login.User, Admin: x.login.Admin, Key: x.login.Key, Restricted: x.login.Restricted, Certified: x.login.Certified, Client: x.conn.from}
	c.Login = x.peer.User()
	c.Server, _ = netip.ParseAddrPort(x.peer.LocalAddr().String()) // of tests it is none
	c.Expires, c.Waiting, c.Zone, c.Breaks = x.login.Expires, x.waiting, x.zone, x.breaks
	c.Alive, c.Channel, c.Several = x.alive, x.watched, x.command() == ""
	c.End = func(why string) { x.srv.cut(why, holdBy(x.login.User, x.login.Key)) }
	if x.tty == nil {
		c.Out, c.Err = stream{x.out, x.ch}, stream{x.out, x.ch.Stderr()}
		return c
	}
	c.Out, c.Err = x.tty, x.tty
	c.Terminal = &commands.Terminal{Name: x.tty.name, Size: x.tty.size, Resized: x.tty.resized, Raw: x.tty.setRaw, Clear: x.tty.clear}
	return c
}
