package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"charm.land/ssh"
	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
)

// What is offered to clients: the library's choice without SHA-1, which
// OpenSSH has not needed since its version 7.2.
var (
	keyExchanges = []string{
		gossh.KeyExchangeMLKEM768X25519, gossh.KeyExchangeCurve25519, gossh.KeyExchangeECDHP256,
		gossh.KeyExchangeECDHP384, gossh.KeyExchangeECDHP521, gossh.KeyExchangeDH14SHA256,
	}
	macs           = []string{gossh.HMACSHA256ETM, gossh.HMACSHA512ETM, gossh.HMACSHA256, gossh.HMACSHA512}
	publicKeyAuths = gossh.SupportedAlgorithms().PublicKeyAuths
	// rsaSignatures are those that an RSA host key makes.
	rsaSignatures = []string{gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256}
)

// connKey finds the conn in the library's context of a connection.
type connKey struct{}

// loginKey finds the auth.Login among the permissions of a connection.
type loginKey struct{}

// conn is one connection, from its first byte.
type conn struct {
	net.Conn
	srv      *Server
	from     netip.Addr
	sessions atomic.Int32 // channels that are open
	refusing atomic.Int32 // channels whose refusal the client has not taken yet

	// ackAtOnce: acknowledge at once what is read. OpenSSH waits for the
	// acknowledgement of what it sent before it sends more, until it has logged
	// in; the usual delay costs a login 80 ms.
	ackAtOnce atomic.Bool
	socket    syscall.RawConn // nil when it is not TCP

	heard     atomic.Bool // something was read
	sent      sent
	stuck     stuck
	closed    chan struct{} // closed by Close
	closeOnce sync.Once

	// Server.mu guards these.
	served bool          // it was its turn to log in
	turn   chan struct{} // closed when it is its turn
	holder auth.Login    // who has the place that it takes; zero when it takes none
	// forwards is how many it has; idle is closed when there are none any more.
	forwards int
	idle     chan struct{}

	// Only the goroutine that serves the connection uses these.
	accepted bool
	refused  []refusal
	refusal  string      // why its sessions run nothing, "" when they do
	expiry   *time.Timer // ends it when its key expires; nil: that does not
}

// refusal is a key that did not let anybody in.
type refusal struct{ login, fingerprint, why string }

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{Conn: nc, srv: s, turn: make(chan struct{}), closed: make(chan struct{})}
	c.sent.init()
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.from = a.Addr().Unmap()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		c.socket, _ = tcp.SyscallConn()
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
	if c.socket != nil {
		c.ackAtOnce.Store(true)
		quickAck(c.socket)
		setUserTimeout(c.socket)
	}
	return c
}

// Read reads from the client. The system falls back to delayed
// acknowledgements by itself, so they are switched off again each time.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(true)
		c.input(n)
	}
	if c.ackAtOnce.Load() {
		quickAck(c.socket)
	}
	return n, err
}

// Write writes to the client.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.note(false)
	return n, err
}

// Close closes the connection, also one that waits for its turn.
func (c *conn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	c.sent.note(true)
	return c.Conn.Close()
}

// config is how one connection logs in: with public keys alone.
func (c *conn) config(ctx ssh.Context) *gossh.ServerConfig {
	// The library lifts the deadline after the login.
	_ = c.SetDeadline(time.Now().Add(c.srv.limits.Load().LoginGrace))
	return &gossh.ServerConfig{
		Config:                  gossh.Config{KeyExchanges: keyExchanges, MACs: macs},
		PublicKeyAuthAlgorithms: publicKeyAuths,
		MaxAuthTries:            maxAuthTries,
		PublicKeyCallback: func(m gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
			_, err := c.login(ctx, m, key)
			return nil, err
		},
		// Keys that are merely offered come to the callback above. Only this one
		// knows that the client holds the private key: it decides who it is.
		VerifiedPublicKeyCallback: func(m gossh.ConnMetadata, key gossh.PublicKey, _ *gossh.Permissions, _ string) (*gossh.Permissions, error) {
			login, err := c.login(ctx, m, key)
			if err != nil {
				return nil, err
			}
			c.accepted = true
			c.srv.welcome(c, login)
			c.expireWith(login)
			c.srv.log.Debug("login", "user", login.User, "key", login.Key, "from", c.from)
			return &gossh.Permissions{ExtraData: map[any]any{loginKey{}: login}}, nil
		},
	}
}

// expireWith has the connection end when the key expires that it logged in with: a
// timer costs no goroutine. Each command asks again whether the key is valid.
func (c *conn) expireWith(l auth.Login) {
	if l.Expires.IsZero() {
		return
	}
	what := "key"
	if l.Certified {
		what = "certificate"
	}
	why := fmt.Sprintf("the %s that you logged in with expired at %s", what, l.Expires.UTC().Format(time.RFC3339))
	c.expiry = time.AfterFunc(time.Until(l.Expires), func() { c.srv.cut(why, func(other *conn) bool { return other == c }) })
}

// login asks whether a key lets its holder in, and notes it when not.
func (c *conn) login(ctx context.Context, m gossh.ConnMetadata, key gossh.PublicKey) (auth.Login, error) {
	login, err := c.srv.users.Login(ctx, key, m.User(), c.from)
	if err == nil {
		return login, nil
	}
	if cert, ok := key.(*gossh.Certificate); ok {
		key = cert.Key
	}
	r := refusal{printable(m.User(), 64), gossh.FingerprintSHA256(key), err.Error()}
	if _, ok := errors.AsType[auth.Refusal](err); !ok {
		c.srv.log.Error("a login could not be checked", "login", r.login, "key", r.fingerprint, "from", c.from, "err", err)
		r.why = "the login could not be checked"
	}
	if !slices.Contains(c.refused, r) {
		c.refused = append(c.refused, r)
	}
	return auth.Login{}, err
}

// report has the keys that were refused recorded, unless another key of the
// same client let it in after all.
func (c *conn) report() {
	if c.accepted {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, r := range c.refused {
		if err := c.srv.users.Refused(ctx, r.login, r.fingerprint, c.from, r.why); err != nil {
			c.srv.log.Error("a refused login could not be recorded", "login", r.login, "key", r.fingerprint, "from", c.from, "why", r.why, "err", err)
		}
	}
}
