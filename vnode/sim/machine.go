package sim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"walt/nodes"
)

// errReboot is why a machine ended that is to boot again.
var errReboot = errors.New("reboot")

// machine is a simulated node that has power: its files and its SSH server.
type machine struct {
	name   nodes.Name
	disk   *disk
	turn   *sync.Mutex // to rest
	booted time.Time
	now    func() time.Time
	log    *slog.Logger
	says   func(ctx context.Context, n nodes.Name, stream, line string)

	listener net.Listener
	server   *ssh.Server
	cut      context.CancelCauseFunc // cuts the power

	processes atomic.Int32 // that run beside others
	pid       atomic.Int32 // of the last process
	served    served

	running sync.WaitGroup // connections, and sessions that may survive theirs a little
	mu      sync.Mutex     // guards what follows
	conns   map[net.Conn]struct{}
	off     bool
}

// powerOn returns a machine that listens, and answers once it serves.
func (s *Hypervisor) powerOn(ctx context.Context, n nodes.Name, files fs.FS) (*machine, error) {
	shown, err := s.hostSigners(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for SSH: %w", err)
	}
	disk, err := newDisk(files, s.Now)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("read the image: %w", err)
	}
	m := &machine{
		name: n, disk: disk, turn: &s.turn, booted: s.Now(), now: s.Now, log: s.Log.With("node", n), says: s.Says,
		listener: listener, conns: map[net.Conn]struct{}{},
	}
	m.server = &ssh.Server{
		Version:     "walt-simulated-node",
		HostSigners: shown,
		PublicKeyHandler: func(ctx ssh.Context, key ssh.PublicKey) bool {
			return ctx.User() == "root" && s.admits(ctx, n, key)
		},
		ConnCallback:      m.connect,
		ChannelHandlers:   map[string]ssh.ChannelHandler{"session": channel},
		Handler:           m.session,
		SubsystemHandlers: map[string]ssh.SubsystemHandler{"sftp": m.sftp},
	}
	return m, nil
}

// hostSigners are what the SSH server of a node shows.
func (s *Hypervisor) hostSigners(ctx context.Context, n nodes.Name) (all []ssh.Signer, err error) {
	shown, err := s.Lab.HostSigners(ctx, n)
	if err != nil || len(shown) > 0 {
		for _, key := range shown {
			all = append(all, key)
		}
		return all, err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	key, err := gossh.NewSignerFromSigner(private)
	return []ssh.Signer{key}, err
}

// admits reports whether a node lets a key in: the lab's, or one of whom the lab says so now.
func (s *Hypervisor) admits(ctx context.Context, n nodes.Name, key gossh.PublicKey) bool {
	if ssh.KeysEqual(key, s.Trust) {
		return true
	}
	ok, err := s.Lab.Admits(ctx, n, key)
	if err != nil && ctx.Err() == nil {
		s.Log.Error("find out who may log in to a node", "node", n, "err", err)
	}
	return ok
}

// serve lets clients in until ctx ends, the machine reboots, or it can listen
// no more. It returns why, when all that ran on the machine has ended.
func (m *machine) serve(ctx context.Context) error {
	ctx, m.cut = context.WithCancelCause(ctx)
	defer m.cut(nil)
	defer context.AfterFunc(ctx, func() { m.listener.Close() })()
	err := m.server.Serve(m.listener)
	m.powerOff()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("listen for SSH: %w", err)
}

// powerOff closes the connections, which ends the sessions, and waits for that.
func (m *machine) powerOff() {
	m.mu.Lock()
	m.off = true
	for c := range m.conns {
		c.Close()
	}
	m.mu.Unlock()
	m.running.Wait()
}

// connect keeps account of a new connection. The library would only know of
// those that have logged in.
func (m *machine) connect(_ ssh.Context, c net.Conn) net.Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil
	}
	m.running.Add(1)
	m.conns[c] = struct{}{}
	return &connection{Conn: c, left: sync.OnceFunc(func() {
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
		m.running.Done()
	})}
}

// connection is one whose end is noticed; the library closes it several times.
type connection struct {
	net.Conn
	left func()
}

func (c *connection) Close() error {
	defer c.left()
	return c.Conn.Close()
}

// channel serves one session channel. It stands in front of the library's
// handler, whose context ends with the connection, not with the channel, and
// which accepts agent forwarding, keeps any number of environment variables
// and blocks on signals and changes of the window that nobody takes.
func channel(srv *ssh.Server, conn *gossh.ServerConn, offered gossh.NewChannel, ctx ssh.Context) {
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	ssh.DefaultSessionHandler(srv, conn, requests{offered}, channelContext{ctx, done})
}

// channelContext is a connection's context that ends earlier.
type channelContext struct {
	ssh.Context
	done context.Context
}

func (c channelContext) Done() <-chan struct{} { return c.done.Done() }
func (c channelContext) Err() error            { return c.done.Err() }
func (c channelContext) Value(key any) any     { return c.done.Value(key) }

// requests is a channel that passes on only the requests that a node understands.
type requests struct{ gossh.NewChannel }

func (r requests) Accept() (gossh.Channel, <-chan *gossh.Request, error) {
	ch, all, err := r.NewChannel.Accept()
	if err != nil {
		return nil, nil, err
	}
	some := make(chan *gossh.Request)
	go func() { // ends with the channel
		defer close(some)
		for req := range all {
			switch req.Type {
			case "pty-req", "shell", "exec", "subsystem":
				some <- req
			default:
				// An error means that the connection is gone, which ends all.
				_ = req.Reply(false, nil)
			}
		}
	}()
	return ch, some, nil
}
