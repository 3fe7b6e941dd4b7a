package sshd

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Where the system lets the server open few files, neither strangers nor users take
// those that the store needs, and both leave room for others.
func TestFewFiles(t *testing.T) {
	inBubble(t, func(s *Server) { s.setFiles(80) }, func(t *testing.T, l *lab) {
		l.SetLimits(Limits{MaxConnections: 1000, LoginGrace: time.Minute})
		l.log.expect(t, "LimitNOFILE=")
		for range 100 {
			c, err := l.connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
		bobs, told := hold(t, l, "bob", 30)
		if len(bobs) != 20 || told != "walt: you have too many connections open: close some\n" {
			t.Errorf("bob has %d connections, and is told: %v", len(bobs), told)
		}
		if alices, told := hold(t, l, "alice", 1); len(alices) != 1 {
			t.Errorf("an administrator is told: %v", told)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if silent := len(l.logins.all); silent > 20 {
			t.Errorf("%d connections on which nobody logged in", silent)
		}
	})
}

func TestOpenFiles(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(); n < 1 || uint64(n) > uint64(limit.Cur) {
		t.Errorf("%d files, of %d", n, limit.Cur)
	}
}

// A listener without file descriptors is told about once, not 20 times a second.
func TestAcceptFailuresAreToldOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	failing := &exhausted{closed: make(chan struct{}), tries: make(chan struct{}, 100)}
	served := make(chan error, 1)
	go func() { served <- l.Serve(failing) }()
	for range 5 {
		<-failing.tries
	}
	if n := strings.Count(l.log.String(), "could not be accepted"); n != 1 {
		t.Errorf("told %d times", n)
	}
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	failing.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// exhausted is a listener that cannot accept anything.
type exhausted struct{ closed, tries chan struct{} }

func (e *exhausted) Accept() (net.Conn, error) {
	select {
	case <-e.closed:
		return nil, net.ErrClosed
	case e.tries <- struct{}{}:
		return nil, syscall.EMFILE
	}
}

func (e *exhausted) Close() error {
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return nil
}

func (e *exhausted) Addr() net.Addr { return &net.TCPAddr{} }
