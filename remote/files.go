package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrNoFiles says that a node has no SFTP server.
var ErrNoFiles = errors.New("it has no SFTP server")

const (
	// channelsEach is how many conversations share a connection: OpenSSH's server has room for
	// ten sessions on one.
	channelsEach = 8
	// channelLimit is how long a node may take to begin one.
	channelLimit = 20 * time.Second
)

// Files are conversations with the SFTP servers of nodes. Several share a connection to a node,
// whoever they are for: on the node all of them are root. The zero value is ready.
type Files struct {
	mu      sync.Mutex
	lines   map[string][]*line  // by node
	dialing map[string]*attempt // the same
}

// attempt is a connection to a node that is being made. There is one at a time: OpenSSH's server
// refuses whom it pleases when many who are not logged in yet come at once.
type attempt struct {
	done chan struct{}
	err  error // why it failed, nil also when it was given up
}

// line is a connection to a node, which ends with the last conversation on it.
type line struct {
	client *ssh.Client
	users  int
}

// Open begins a conversation with the SFTP server of a node, by sending what begins one. The
// node is one boot of it: its connections are of no use for another. The conversation ends with
// ctx; when it ended for a reason of ctx, that is its error.
//
// Where the SSH server has none, the agent of the lab on that node is run in its place. The
// error is ErrNoFiles when there is none of that either.
func (f *Files) Open(ctx context.Context, node string, dial func(context.Context) (net.Conn, error), key ssh.Signer, host ssh.PublicKey, begins []byte) (io.ReadWriteCloser, error) {
	for own := false; ; {
		l, a, first := f.share(node, own)
		switch {
		case l != nil:
			c, err := f.converse(ctx, node, l, begins)
			if err == nil || ctx.Err() != nil || errors.Is(err, ErrNoFiles) {
				return c, err
			}
			own = true // it went down, or has room for less
		case first:
			l, err := f.connect(ctx, node, a, dial, key, host)
			if err != nil {
				return nil, err
			}
			return f.converse(ctx, node, l, begins)
		default:
			select {
			case <-a.done:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if a.err != nil {
				return nil, a.err
			}
		}
	}
}

// share returns a connection that has room for one more conversation, or the attempt to make one,
// which is to be waited for unless this is the first to want it. With own, none is shared.
func (f *Files) share(node string, own bool) (l *line, a *attempt, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lines[node] {
		if l.users < channelsEach && !own {
			l.users++
			return l, nil, false
		}
	}
	if a := f.dialing[node]; a != nil {
		return nil, a, false
	}
	if f.dialing == nil {
		f.lines, f.dialing = map[string][]*line{}, map[string]*attempt{}
	}
	a = &attempt{done: make(chan struct{})}
	f.dialing[node] = a
	return nil, a, true
}

// connect makes the connection of an attempt, for one conversation to begin with.
func (f *Files) connect(ctx context.Context, node string, a *attempt, dial func(context.Context) (net.Conn, error), key ssh.Signer, host ssh.PublicKey) (*line, error) {
	var client *ssh.Client
	conn, err := dial(ctx)
	if err == nil {
		client, err = login(ctx, conn, conn.RemoteAddr().String(), key, host)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer close(a.done)
	delete(f.dialing, node)
	if err != nil {
		if ctx.Err() == nil { // else it is for another one to try
			a.err = err
		}
		return nil, err
	}
	l := &line{client: client, users: 1}
	f.lines[node] = append(f.lines[node], l)
	return l, nil
}

// leave ends a conversation.
func (f *Files) leave(node string, l *line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	_ = l.client.Close()
	rest := f.lines[node][:0]
	for _, other := range f.lines[node] {
		if other != l {
			rest = append(rest, other)
		}
	}
	if f.lines[node] = rest; len(rest) == 0 {
		delete(f.lines, node)
	}
}

// agentServes is a line for any shell that runs the agent of the lab as an SFTP server: the
// agent's program is in no file system of the node.
const agentServes = `exec /bin/sh -c 'for p in /proc/[0-9]*; do read -r n <$p/cmdline; case "$n" in @walt-agent*) exec $p/exe sftp;; esac; done 2>/dev/null'`

// converse begins a conversation on a connection, and gives up its place there when that fails.
func (f *Files) converse(ctx context.Context, node string, l *line, begins []byte) (io.ReadWriteCloser, error) {
	var c *conversation
	err := ErrNoFiles
	for _, r := range []struct{ request, what string }{{"subsystem", "sftp"}, {"exec", agentServes}} {
		if c, err = begin(ctx, l.client, r.request, r.what, begins); !errors.Is(err, ErrNoFiles) {
			break
		}
	}
	if err != nil {
		f.leave(node, l)
		return nil, err
	}
	c.ctx, c.client, c.left = ctx, l.client, func() { f.leave(node, l) }
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, nil
}

// conversation is one channel.
type conversation struct {
	ssh.Channel
	ctx    context.Context
	client *ssh.Client
	r      *bufio.Reader
	closed chan struct{} // by the node, or with the connection
	once   sync.Once
	left   func()
}

// begin has the node run something on a new channel that answers to what begins.
func begin(ctx context.Context, client *ssh.Client, request, what string, begins []byte) (*conversation, error) {
	ctx, done := context.WithTimeout(ctx, channelLimit)
	defer done()
	type opening struct {
		c   *conversation
		err error
	}
	result := make(chan opening, 1)
	go func() { // ends with the answer, or the connection
		ch, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			result <- opening{nil, err}
			return
		}
		c := &conversation{Channel: ch, r: bufio.NewReader(ch), closed: make(chan struct{})}
		go io.Copy(io.Discard, ch.Stderr()) // ends with the channel
		go func() {                         // the same
			ssh.DiscardRequests(requests)
			close(c.closed)
		}()
		if ctx.Err() != nil {
			_ = ch.Close()
		}
		result <- opening{c, nil}
	}()
	var o opening
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case o = <-result:
		if o.err != nil {
			return nil, o.err
		}
	}
	c := o.c
	defer context.AfterFunc(ctx, func() { c.end(client) })()
	granted, err := c.SendRequest(request, true, ssh.Marshal(struct{ What string }{what}))
	if err == nil && !granted {
		err = ErrNoFiles
	}
	if err == nil {
		if _, err = c.Channel.Write(begins); err == nil {
			_, err = c.r.Peek(1)
		}
		if errors.Is(err, io.EOF) { // it ended, as what is not there does
			err = ErrNoFiles
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		go c.end(client) // ends in a moment
		return nil, err
	}
	return c, nil
}

// closeLimit is how long a node may take to close a channel, before it loses the connection.
const closeLimit = 2 * time.Second

// end closes a channel, so that nobody waits for it any more.
func (c *conversation) end(client *ssh.Client) {
	late := time.AfterFunc(closeLimit, func() { _ = client.Close() })
	defer late.Stop()
	_ = c.Channel.Close()
	<-c.closed
}

func (c *conversation) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	return n, c.why(err)
}

func (c *conversation) Write(p []byte) (int, error) {
	n, err := c.Channel.Write(p)
	return n, c.why(err)
}

// why is the reason of an end.
func (c *conversation) why(err error) error {
	if err != nil && c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// Close ends it, and does not wait for the node.
func (c *conversation) Close() error {
	c.once.Do(func() {
		c.left()
		go c.end(c.client) // ends in a moment
	})
	return nil
}
