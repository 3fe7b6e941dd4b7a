package sshd

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"charm.land/ssh"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/fault"
)

// Nodes lets users reach nodes over their connections.
type Nodes interface {
	// Forward connects the user to a port of the node that is called host, exactly that,
	// once it is up. What it returns also ends by itself, when the user's right to it does;
	// it may have a method CloseWrite. admitted says of an error that it is not about
	// whether the user may, but nothing answers there.
	Forward(ctx context.Context, user auth.Name, host string, port uint32) (node io.ReadWriteCloser, admitted bool, err error)
}

// maxForwards is how many forwards a user may have open, those that wait for their
// node included.
const maxForwards = 256

// forwards are those that are open, or wait for their node. Server.mu guards them.
type forwards struct {
	all map[*forward]struct{}
	of  map[auth.Name]int
}

// forward is a channel from a client to a port of a node (RFC 4254, section 7.2).
type forward struct {
	srv    *Server
	conn   *conn
	peer   gossh.Conn
	user   auth.Name
	ctx    context.Context
	cancel context.CancelFunc // ends it, whatever it is at
}

// forward serves a channel that a client opens to a node, until it is closed.
func (s *Server) forward(_ *ssh.Server, peer *gossh.ServerConn, open gossh.NewChannel, ctx ssh.Context) {
	c := ctx.Value(connKey{}).(*conn)
	login, ok := peer.Permissions.ExtraData[loginKey{}].(auth.Login)
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	switch {
	case !ok || c.refusal != "":
		c.refuse(open, gossh.Prohibited, c.refusal)
		return
	case login.NoForwarding:
		c.refuse(open, gossh.Prohibited, "your key does not permit forwards")
		return
	case gossh.Unmarshal(open.ExtraData(), &to) != nil:
		c.refuse(open, gossh.ConnectionFailed, "malformed request")
		return
	}
	f := &forward{srv: s, conn: c, peer: peer, user: login.User}
	f.ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	if why := s.addForward(f); why != "" {
		c.refuse(open, gossh.ResourceShortage, why)
		return
	}
	defer s.removeForward(f)
	c.ackAtOnce.Store(false)
	node, admitted, err := s.nodes.Forward(f.ctx, login.User, to.Host, to.Port)
	if err != nil {
		reason := gossh.Prohibited
		if admitted {
			reason = gossh.ConnectionFailed
		}
		c.refuse(open, reason, f.why(err))
		return
	}
	defer node.Close()
	ch, requests, err := open.Accept()
	if err != nil {
		return // the connection is gone
	}
	f.run(node, ch, requests)
}

// why is an error in words for users.
func (f *forward) why(err error) string {
	if bad := fault.As(err); bad != nil {
		return strings.TrimSuffix(bad.Msg+"\n"+bad.Hint, "\n")
	}
	if f.ctx.Err() == nil {
		f.srv.log.Error("a forward could not be made", "user", f.user, "from", f.conn.from, "err", err)
	}
	return fault.Reason(err)
}

// addForward counts a forward that begins, or says why it does not.
func (s *Server) addForward(f *forward) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return errStopping.Error()
	case s.forwards.of[f.user] >= maxForwards:
		return "you have too many forwards open: close some"
	case len(s.forwards.all) >= s.files/8:
		return "the server has too many forwards open: try again later"
	}
	s.forwards.all[f] = struct{}{}
	s.forwards.of[f.user]++
	if f.conn.forwards++; f.conn.forwards == 1 {
		f.conn.idle = make(chan struct{})
		go s.watch(f.peer, f.user, f.conn, f.conn.idle) // ends with the last forward
	}
	s.forwarding.Add(1)
	return ""
}

func (s *Server) removeForward(f *forward) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.forwards.all, f)
	if s.forwards.of[f.user]--; s.forwards.of[f.user] == 0 {
		delete(s.forwards.of, f.user)
	}
	if f.conn.forwards--; f.conn.forwards == 0 {
		close(f.conn.idle)
	}
	s.forwarding.Done()
}

// endForwards ends the forwards that match. s.mu is held.
func (s *Server) endForwards(matches func(*conn) bool) {
	for f := range s.forwards.all {
		if matches(f.conn) {
			f.cancel()
		}
	}
}

// run passes on what client and node say, until both have said all, or it is ended.
func (f *forward) run(node io.ReadWriteCloser, ch gossh.Channel, requests <-chan *gossh.Request) {
	out := newOutlet(f.conn, f.tooMuchUnread, f.cancel)
	in := newInflow(f.conn, f.user, f.cancel)
	closed := make(chan struct{})
	go func() { // ends with the channel
		defer close(closed)
		for r := range requests {
			if r.Type == "eow@openssh.com" { // nobody reads what the node says, see answer
				out.unread.Store(true)
				out.giveUp()
			}
			_ = r.Reply(false, nil)
		}
		f.cancel()
	}()
	go in.pump(ch) // both end with the channel
	go drain(ch.Stderr())
	ended := make(chan struct{})
	defer context.AfterFunc(f.ctx, func() { // so that whoever ends it does not wait
		defer close(ended)
		node.Close()
		in.discard()
		out.giveUp()
	})()
	var up sync.WaitGroup
	up.Go(func() { // ends with the client's input, or with f.ctx
		if _, err := io.CopyBuffer(node, in, make([]byte, maxKept)); err != nil {
			f.cancel()
		} else if half, can := node.(interface{ CloseWrite() error }); can {
			_ = half.CloseWrite()
		}
	})
	switch _, err := io.Copy(stream{out, ch}, node); {
	case out.unread.Load(): // the client may have something to say still
	case err != nil:
		f.cancel()
	default:
		_ = ch.CloseWrite()
	}
	up.Wait()
	f.cancel()
	<-ended
	// A client that does not close its side, too, loses the connection.
	defer time.AfterFunc(f.srv.cancelGrace, func() { _ = f.conn.Close() }).Stop()
	_ = ch.Close()
	<-closed
	out.idle()
}

// tooMuchUnread ends the forward, since its client did not read for longest.
func (f *forward) tooMuchUnread(waited time.Duration) {
	f.srv.log.Warn("too much waits for clients that do not read: the forward that waited longest is ended",
		"user", f.user, "from", f.conn.from, "waited", waited.Round(time.Second))
	f.cancel()
}

// nothingElse refuses the other kinds of channels: sockets of files, and what only clients
// offer, as agents and X11.
func nothingElse(_ *ssh.Server, _ *gossh.ServerConn, open gossh.NewChannel, ctx ssh.Context) {
	ctx.Value(connKey{}).(*conn).refuse(open, gossh.Prohibited, "only ports of nodes are forwarded")
}
