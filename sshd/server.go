// Package sshd lets users in over SSH and turns every session channel into a
// commands.Session: one command line, a shell on a terminal, or a script on
// standard input. Channels to ports of nodes it passes on. It knows no command and no rule of the lab. Its one
// surprising rule: a terminal never decides between command and shell, only
// whether a command was given does.
package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"charm.land/ssh"
	"charm.land/wish/v2"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
	"walt/fault"
)

// Users says who may log in.
type Users interface {
	Login(ctx context.Context, key gossh.PublicKey, login string, from netip.Addr) (auth.Login, error)
	Refused(ctx context.Context, login, fingerprint string, from netip.Addr, why string) error
}

// Runner runs command lines. For shells it also completes words, greets, and
// shows notices.
type Runner interface {
	Run(ctx context.Context, s *commands.Session, line string) (status int)
	// Leaves reports whether a line ends the shell or script that it stands in.
	Leaves(line string) bool
	// Complete returns the words that could stand in the place of line[start:].
	Complete(ctx context.Context, s *commands.Session, line string) (start int, words []string)
	Welcome(ctx context.Context, s *commands.Session)
	// Tell writes a text to the session's Err, whose lines are sentences.
	Tell(s *commands.Session, text string)
	Notices(ctx context.Context, s *commands.Session, show func(text string)) error
}

// Files serves SFTP.
type Files interface {
	// Serve answers a client of the user until what it sends ends. It does nothing more when ctx
	// ends, and then in and out end as well. tell gets sentences for the user, of several goroutines.
	Serve(ctx context.Context, user auth.Name, in io.Reader, out io.Writer, tell func(error)) error
}

// History keeps what users typed into their shells, the oldest line first.
type History interface {
	Lines(ctx context.Context, user auth.Name) ([]string, error)
	Append(ctx context.Context, user auth.Name, line string) error
}

// Limits can be replaced while the server runs.
type Limits struct {
	MaxConnections int           // that somebody is logged in on
	LoginGrace     time.Duration // how long a login may take
	IdleTimeout    time.Duration // how long a shell waits for input; 0: for ever
}

// Config is what a Server is made of; every field is required.
type Config struct {
	HostKeys []gossh.Signer
	Users    Users
	Runner   Runner
	History  History
	Nodes    Nodes
	Files    Files
	Log      *slog.Logger
}

// Server accepts connections and runs their sessions.
type Server struct {
	users   Users
	runner  Runner
	history History
	nodes   Nodes
	sftp    Files
	log     *slog.Logger

	ssh       *ssh.Server
	limits    atomic.Pointer[Limits]
	rateLimit *rateLimit
	backlog   *backlog
	files     int       // that may be open at once
	chunks    sync.Pool // what was written of output, see outlet
	// completing holds one for each completion that is being worked out: Tabs of some must
	// not keep the logins of others waiting.
	completing chan struct{}

	keepAlive   time.Duration // between keepalives to a client whose command runs
	cancelGrace time.Duration // for a cancelled command to end before its client is cut off
	hangUpGrace time.Duration // for a client to hear why its session ends, and to hang up by itself

	connections sync.WaitGroup
	sessions    sync.WaitGroup // commands, shells, scripts and what they started
	forwarding  sync.WaitGroup // forwards

	mu         sync.Mutex
	stopping   bool
	listeners  []net.Listener
	conns      map[*conn]struct{}
	logins     logins
	places     places
	sessionsOf map[auth.Name]map[*session]struct{}
	forwards   forwards
}

// banner is the version that clients are told. OpenSSH's client says that nobody
// reads its output any more, as in "log show | head -1", only to servers whose
// version begins with OpenSSH; it reads on and drops what it gets, so there is
// no other sign. The name has no number, since clients work around the bugs of
// numbered versions: the only other thing that OpenSSH's client does for it is
// to say that it will open no more sessions, which nothing here needs.
const banner = "OpenSSH_compatible walt"

// New returns a server that Serve lets accept connections. It refuses all of
// them until SetLimits.
func New(c Config) (*Server, error) {
	s := &Server{
		users:       c.Users,
		runner:      c.Runner,
		history:     c.History,
		nodes:       c.Nodes,
		sftp:        c.Files,
		log:         c.Log,
		rateLimit:   newRateLimit(time.Now),
		backlog:     newBacklog(),
		chunks:      sync.Pool{New: func() any { return new([maxChunk]byte) }},
		completing:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		keepAlive:   30 * time.Second,
		cancelGrace: 10 * time.Second,
		hangUpGrace: 2 * time.Second,
		conns:       map[*conn]struct{}{},
		logins:      logins{served: map[netip.Addr]int{}},
		places:      places{takenBy: map[auth.Name]int{}, told: map[auth.Name]time.Time{}},
		sessionsOf:  map[auth.Name]map[*session]struct{}{},
		forwards:    forwards{all: map[*forward]struct{}{}, of: map[auth.Name]int{}},
	}
	s.setFiles(openFiles())
	s.SetLimits(Limits{})
	if len(c.HostKeys) == 0 {
		return nil, errors.New("no host key") // wish would write one into the current directory
	}
	hostKeys := func(srv *ssh.Server) error {
		for _, key := range c.HostKeys {
			if rsa, ok := key.(gossh.AlgorithmSigner); ok && key.PublicKey().Type() == gossh.KeyAlgoRSA {
				var err error
				if key, err = gossh.NewSignerWithAlgorithms(rsa, rsaSignatures); err != nil {
					return err
				}
			}
			srv.AddHostKey(key)
		}
		return nil
	}
	var err error
	if s.ssh, err = wish.NewServer(wish.WithVersion(banner), hostKeys); err != nil {
		return nil, fmt.Errorf("make the SSH server: %w", err)
	}
	s.ssh.ConnCallback = func(ctx ssh.Context, nc net.Conn) net.Conn {
		ctx.SetValue(connKey{}, nc)
		return nc
	}
	s.ssh.ServerConfigCallback = func(ctx ssh.Context) *gossh.ServerConfig {
		return ctx.Value(connKey{}).(*conn).config(ctx)
	}
	// The library's own session handler grants agent forwarding, hangs on a
	// resize that comes before the command, and hides when a channel closes.
	s.ssh.ChannelHandlers = map[string]ssh.ChannelHandler{
		"session":      s.accept,
		"direct-tcpip": s.forward,
		"default":      nothingElse,
	}
	return s, nil
}

// SetLimits replaces the limits, also while the server runs. Connections and
// prompts that exist already keep what they began with.
func (s *Server) SetLimits(l Limits) {
	l = s.fitFiles(l)
	s.limits.Store(&l)
}

// Online reports whether the user has a session now.
func (s *Server) Online(user auth.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessionsOf[user]) > 0
}

// Cut ends the connections and sessions of the user that logged in with the key,
// or with any key when it is "", since that was removed.
func (s *Server) Cut(user auth.Name, key string) {
	why := "the key that you logged in with was removed"
	if key == "" {
		why = string(user) + " is no longer a user of this lab"
	}
	s.cut(why, holdBy(user, key))
}

// holdBy matches the connections of a user that logged in with the key, or with any
// key when it is "".
func holdBy(user auth.Name, key string) func(*conn) bool {
	return func(c *conn) bool { return c.holder.User == user && (key == "" || c.holder.Key == key) }
}

// cut ends the connections that match, and their sessions, which say why.
func (s *Server) cut(why string, matches func(*conn) bool) {
	ended := fault.New(fault.Interrupted, "closed: %s", why)
	s.eachSession(func(x *session) {
		if matches(x.conn) {
			x.cancel(ended)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endForwards(matches)
	for c := range s.conns {
		if matches(c) { // when its sessions have said why
			time.AfterFunc(s.hangUpGrace, func() { _ = c.Close() })
		}
	}
}

// Serve accepts connections until Shutdown, and returns nil then. It closes
// the listener.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	var told time.Time // when it was logged last that one could not be accepted
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	stopping := s.stopping
	s.mu.Unlock()
	for !stopping {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.admit(nc)
		case errors.Is(err, net.ErrClosed):
			s.mu.Lock()
			stopping = s.stopping
			s.mu.Unlock()
			if !stopping {
				return fmt.Errorf("accept connections: %w", err)
			}
		default: // no file descriptor left, or a client that is gone already
			if now := time.Now(); now.Sub(told) > time.Minute {
				told = now
				s.log.Warn("a connection could not be accepted", "err", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// admit serves a connection in a goroutine of its own, unless the address
// failed to log in too often. The goroutine ends with the connection; Shutdown
// closes those that are left.
func (s *Server) admit(nc net.Conn) {
	c := newConn(s, nc)
	ok, first := s.rateLimit.allow(c.from)
	if first {
		s.log.Warn("too many failed logins: connections are refused for a while", "from", c.from)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || s.stopping {
		_ = nc.Close()
		return
	}
	if victim := s.logins.add(c); victim != nil {
		_ = victim.Close()
		if now := time.Now(); now.Sub(s.logins.told) > time.Minute {
			s.logins.told = now
			s.log.Warn("too many connections on which nobody logs in: the oldest are closed", "from", victim.from, "max", s.logins.most)
		}
	}
	s.conns[c] = struct{}{}
	s.connections.Add(1)
	go s.serveConn(c)
}

func (s *Server) serveConn(c *conn) {
	defer s.connections.Done()
	select {
	case <-c.turn:
		s.ssh.HandleConn(c)
		if !c.accepted {
			s.rateLimit.fail(c.from)
		}
	case <-c.closed:
	}
	c.report()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.logins.remove(c)
	if c.holder.User != "" {
		s.places.leave(c.holder.User)
	}
}

// welcome gives a connection a place when somebody logged in on it. One that
// gets none stays for as long as it takes to say so.
func (s *Server) welcome(c *conn, login auth.Login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.limits.Load().MaxConnections
	if c.refusal = s.places.take(login, most); c.refusal != "" {
		if now := time.Now(); now.Sub(s.places.told[login.User]) > time.Minute { // who tries again and again does not fill the log
			s.places.told[login.User] = now
			s.log.Warn("too many connections: more are refused", "user", login.User, "from", c.from, "max", most)
		}
		time.AfterFunc(s.hangUpGrace, func() { _ = c.Close() })
		return
	}
	c.holder = login
	s.logins.remove(c)
}

// addSession counts a session that begins; false when the server is shutting down.
func (s *Server) addSession(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	user := x.login.User
	if s.sessionsOf[user] == nil {
		s.sessionsOf[user] = map[*session]struct{}{}
	}
	s.sessionsOf[user][x] = struct{}{}
	s.sessions.Add(1)
	return true
}

func (s *Server) removeSession(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user := x.login.User
	delete(s.sessionsOf[user], x)
	if len(s.sessionsOf[user]) == 0 {
		delete(s.sessionsOf, user)
	}
	s.sessions.Done()
}
