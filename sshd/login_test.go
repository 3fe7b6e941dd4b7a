package sshd

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/commands"
)

func TestLoginName(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for login, want := range map[string]bool{"walt": true, "alice": true, "bob": false, "root": false, "": false} {
		c, err := l.dial(login, "alice")
		if (err == nil) != want {
			t.Errorf("login as %q: %v", login, err)
		}
		if err == nil {
			c.Close()
		}
	}
	eventually(t, func() bool { return len(l.users.all()) == 3 }, func() string { return fmt.Sprint(l.users.all()) })
}

func TestRefusedKeysAreReported(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	// An agent with several keys: the first is refused, the second lets in.
	c, err := l.dial("walt", "stranger", "alice")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// Two keys that let nobody in, each offered once.
	if _, err := l.dial("bob\x1b[2J", "stranger", "alice"); err == nil {
		t.Fatal("logged in")
	}
	eventually(t, func() bool { return len(l.users.all()) >= 2 }, func() string { return fmt.Sprint(l.users.all()) })
	want := []string{
		"bob?[2J " + gossh.FingerprintSHA256(l.key["stranger"].PublicKey()) + " 127.0.0.1 unknown key",
		"bob?[2J " + gossh.FingerprintSHA256(l.key["alice"].PublicKey()) + " 127.0.0.1 key of alice",
	}
	if got := l.users.all(); !slices.Equal(got, want) {
		t.Errorf("reported %q", got)
	}
}

// liar shows one public key and signs with another.
type liar struct {
	gossh.Signer
	shown gossh.PublicKey
}

func (l liar) PublicKey() gossh.PublicKey { return l.shown }

func TestKeyMustBeProved(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c, err := gossh.Dial("tcp", l.addr, &gossh.ClientConfig{
		User: "walt", HostKeyCallback: gossh.InsecureIgnoreHostKey(),
		Auth: []gossh.AuthMethod{gossh.PublicKeys(liar{l.key["bob"], l.key["alice"].PublicKey()})},
	})
	if err == nil {
		c.Close()
		t.Fatal("logged in with a key that was not proved")
	}
}

func TestOnlyPublicKeys(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ask := func(string, string, []string, []bool) ([]string, error) {
		t.Error("the server asks")
		return nil, nil
	}
	_, err := gossh.Dial("tcp", l.addr, &gossh.ClientConfig{
		User: "walt", HostKeyCallback: gossh.InsecureIgnoreHostKey(),
		Auth: []gossh.AuthMethod{gossh.Password("secret"), gossh.KeyboardInteractive(ask)},
	})
	if err == nil || !strings.Contains(err.Error(), "attempted methods [none]") {
		t.Errorf("other methods than public keys: %v", err)
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var users []string
	for i := range maxAuthTries - 2 {
		name := fmt.Sprint("stranger", i)
		l.key[name] = newKey(t)
		users = append(users, name)
	}
	c, err := l.dial("walt", append(users, "alice")...)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := l.dial("walt", append(users, append(users, "alice")...)...); err == nil {
		t.Error("no end of keys")
	}
}

// hold opens connections for a user, at most so many, until one is refused.
func hold(t *testing.T, l *lab, user string, most int) (held []*gossh.Client, refusal string) {
	t.Helper()
	for range most {
		c := l.login(t, user)
		r := start(t, c, false, "echo x")
		if r.status() != commands.StatusDone {
			return held, r.err.String()
		}
		held = append(held, c)
	}
	return held, ""
}

func TestMaxConnections(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.SetLimits(Limits{MaxConnections: 40, LoginGrace: time.Minute})
		// One user cannot take everything.
		bobs, told := hold(t, l, "bob", 40)
		if len(bobs) != 20 || told != "walt: you have too many connections open: close some\n" {
			t.Errorf("bob has %d of 40, and is told: %v", len(bobs), told)
		}
		l.log.expect(t, "too many connections")
		for range 3 {
			if _, told := hold(t, l, "bob", 1); told == "" {
				t.Error("bob got one more")
			}
		}
		if n := strings.Count(l.log.String(), "too many connections"); n != 1 {
			t.Errorf("logged %d times within a minute", n)
		}
		// All users together leave places for administrators.
		l.users.allow(l.key["stranger"], auth.Login{User: "carol"})
		carols, told := hold(t, l, "stranger", 40)
		if len(carols) != 18 || told != "walt: the server has too many connections: try again later\n" {
			t.Errorf("carol has %d of 40, and is told: %v", len(carols), told)
		}
		alices, told := hold(t, l, "alice", 40)
		if len(alices) != 2 || told == "" {
			t.Errorf("an administrator has %d of the 2 spare places, and is told: %v", len(alices), told)
		}
		// A place that was left is free again.
		bobs[0].Close()
		bobs[1].Close()
		bobs[2].Close()
		eventually(t, func() bool {
			held, _ := hold(t, l, "bob", 1)
			return len(held) == 1
		}, func() string { return "the room of a closed connection stays taken" })
	})
}

// Who does not log in takes nothing from those who do.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	for range maxLogins + 50 {
		c, err := net.Dial("tcp", l.addr)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.logins.all) == maxLogins
	}, func() string { return "the connections on which nobody logs in are not bounded" })
	l.log.expect(t, "too many connections on which nobody logs in")
	_ = silent[0].SetDeadline(time.Now().Add(soon))
	if _, err := io.Copy(io.Discard, silent[0]); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest one is still open")
	}
}

// Which connection goes for a new one.
func TestVictims(t *testing.T) {
	l := logins{most: maxLogins, served: map[netip.Addr]int{}}
	from := func(address string, heard bool) *conn {
		c := &conn{from: netip.MustParseAddr(address), turn: make(chan struct{})}
		c.heard.Store(heard)
		l.add(c)
		return c
	}
	from("192.0.2.1", false)
	first, silent := from("192.0.2.2", true), from("192.0.2.2", false)
	if l.victim() != silent {
		t.Error("not the silent one of the address that has most")
	}
	silent.heard.Store(true)
	if l.victim() != first {
		t.Error("not the oldest one of the address that has most")
	}
	// The others of an address wait for their turn.
	var all []*conn
	for range maxLoginsFrom + 1 {
		all = append(all, from("2001:db8::1", false))
	}
	last := all[maxLoginsFrom]
	if last.served {
		t.Error("no bound for one address")
	}
	l.remove(all[0])
	select {
	case <-last.turn:
	default:
		t.Error("its turn does not come")
	}
	for len(l.all) > 0 {
		l.remove(l.all[0])
	}
	if len(l.served) > 0 {
		t.Errorf("%v are counted though there are none", l.served)
	}
}

// A farm behind one address: nobody is refused for coming at once with others.
func TestLoginsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var all sync.WaitGroup
	for range 3 * loginBurst {
		all.Go(func() {
			c, err := l.dial("walt", "alice")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			s, err := c.NewSession()
			if err == nil {
				err = s.Run("echo x")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestLoginGrace(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		l.SetLimits(Limits{MaxConnections: 10, LoginGrace: 30 * time.Second})
		begun := time.Now()
		silent, err := l.connect()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		heard, _ := io.ReadAll(silent) // until the server ends it
		if greeting := "SSH-2.0-" + banner + "\r\n"; !strings.HasPrefix(string(heard), greeting) {
			t.Errorf("greeted with %q", heard)
		}
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("a client that does not log in stays connected for %v", took)
		}
		// Who logged in may take any time.
		c := l.login(t, "alice")
		time.Sleep(time.Hour)
		if r := start(t, c, false, "echo x"); r.status() != 0 {
			t.Error("not served")
		}
	})
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	begin, later := time.Now(), atomic.Int64{}
	l := newLab(t, func(s *Server) {
		s.rateLimit.now = func() time.Time { return begin.Add(time.Duration(later.Load())) }
	})
	for range loginBurst + 10 { // good ones cost nothing
		c, err := l.dial("walt", "alice")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for range loginBurst {
		if _, err := l.dial("walt", "stranger"); err == nil {
			t.Fatal("a stranger is let in")
		}
	}
	eventually(t, func() bool { // they end after the client did
		_, err := l.dial("walt", "stranger")
		return err != nil && !strings.Contains(err.Error(), "unable to authenticate")
	}, func() string { return "failures do not count" })
	for range 3 {
		if c, err := l.dial("walt", "alice"); err == nil {
			c.Close()
			t.Fatal("still let in after too many failures")
		}
	}
	if n := strings.Count(l.log.String(), "too many failed logins"); n != 1 {
		t.Errorf("said %d times", n)
	}
	later.Store(int64(loginRefill))
	c, err := l.dial("walt", "alice")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestRateLimitIsBounded(t *testing.T) {
	now := time.Now()
	limit := newRateLimit(func() time.Time { return now })
	for i := range 3 * maxAddresses {
		limit.fail(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(limit.buckets) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(limit.buckets))
	}
	now = now.Add(loginBurst * loginRefill)
	limit.fail(netip.MustParseAddr("192.0.2.1"))
	if len(limit.buckets) > 2 {
		t.Errorf("%d addresses are remembered though all are as good as new", len(limit.buckets))
	}
	// The addresses of one IPv6 host count as one.
	for i := range loginBurst {
		limit.fail(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)))
	}
	if ok, first := limit.allow(netip.MustParseAddr("2001:db8::1")); ok || !first {
		t.Error("an IPv6 host has as many tries as addresses")
	}
	if ok, first := limit.allow(netip.MustParseAddr("2001:db8::2")); ok || first {
		t.Error("told twice")
	}
	if ok, _ := limit.allow(netip.MustParseAddr("2001:db8:0:1::1")); !ok {
		t.Error("another network is refused")
	}
}

func TestKeyExchanges(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, kex := range []string{gossh.KeyExchangeMLKEM768X25519, gossh.KeyExchangeCurve25519} {
		c := &gossh.ClientConfig{User: "walt", Auth: []gossh.AuthMethod{gossh.PublicKeys(l.key["alice"])}, HostKeyCallback: gossh.InsecureIgnoreHostKey()}
		c.KeyExchanges = []string{kex}
		client, err := gossh.Dial("tcp", l.addr, c)
		if err != nil {
			t.Errorf("%s: %v", kex, err)
			continue
		}
		client.Close()
	}
}

// Acknowledgements are quick until the client has logged in and asked for
// something: by then it does not wait for them any more.
func TestQuickAcknowledgements(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	l.mu.Lock()
	var server *conn
	for server = range l.conns {
	}
	l.mu.Unlock()
	if !server.ackAtOnce.Load() {
		t.Error("not quick at login")
	}
	start(t, c, false, "echo x").status()
	if server.ackAtOnce.Load() {
		t.Error("still quick after a command")
	}
}

func TestForwardsNothingElse(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.login(t, "alice")
	if conn, err := c.Dial("tcp", l.addr); err == nil {
		conn.Close()
		t.Error("the server itself is reached")
	}
	for _, kind := range []string{"direct-streamlocal@openssh.com", "forwarded-tcpip", "auth-agent@openssh.com", "x11", "tun@openssh.com", "odd"} {
		_, _, err := c.OpenChannel(kind, nil)
		if why, is := errors.AsType[*gossh.OpenChannelError](err); !is || why.Reason != gossh.Prohibited || why.Message != "only ports of nodes are forwarded" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if listener, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		listener.Close()
		t.Error("tcpip-forward is granted")
	}
	if conn, err := c.Dial("unix", "/run/x"); err == nil {
		conn.Close()
		t.Error("direct-streamlocal is open")
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, request := range []string{"auth-agent-req@openssh.com", "x11-req", "subsystem", "env", "break"} {
		if ok, err := s.SendRequest(request, true, gossh.Marshal(struct{ S string }{"netconf"})); ok || err != nil {
			t.Errorf("%s: %v, %v", request, ok, err)
		}
	}
	if err := s.Run("echo x"); err != nil {
		t.Errorf("the session is of no use any more: %v", err)
	}
	if err := s.Start("echo y"); err == nil {
		t.Error("a second command in one session")
	}
}

func TestManySessions(t *testing.T) {
	t.Parallel()
	c := newLab(t).login(t, "alice")
	var open []*gossh.Session
	for range maxSessions {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := c.NewSession(); err == nil {
		t.Error("no end of sessions")
	}
	open[0].Close()
	eventually(t, func() bool { _, err := c.NewSession(); return err == nil }, func() string { return "the room of a closed session stays taken" })
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{"bob": "bob", "a\x1b[2J\r\nb": "a?[2J??b", "\xff\u0085\u202e": "???", "über": "über", "0123456789abc": "0123456789"} {
		if got := printable(text, 10); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// An RSA host key makes no signatures with SHA-1.
func TestHostKeySignatures(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(s *Server) {
		other, err := New(Config{HostKeys: []gossh.Signer{key}, Users: s.users, Runner: s.runner, History: s.history, Log: s.log})
		if err != nil {
			t.Fatal(err)
		}
		s.ssh = other.ssh
	})
	for algorithm, want := range map[string]bool{gossh.KeyAlgoRSASHA256: true, gossh.KeyAlgoRSASHA512: true, gossh.KeyAlgoRSA: false} {
		c, err := gossh.Dial("tcp", l.addr, &gossh.ClientConfig{
			User: "walt", Auth: []gossh.AuthMethod{gossh.PublicKeys(l.key["alice"])},
			HostKeyCallback: gossh.InsecureIgnoreHostKey(), HostKeyAlgorithms: []string{algorithm},
		})
		if (err == nil) != want {
			t.Errorf("%s: %v", algorithm, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

func TestPlain(t *testing.T) {
	for drawn, want := range map[string]string{"a\x1b[Kb": "ab", "x\x1b[3Dy\x1b[D": "x\b\b\by\b", "\x1b[1;31mred\x1b[999999999D": "red" + strings.Repeat("\b", maxCells)} {
		if got := string(plain([]byte(drawn))); got != want {
			t.Errorf("%q: %q, want %q", drawn, got, want)
		}
	}
}
