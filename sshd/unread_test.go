package sshd

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// lazy is a session whose client takes what the library takes for it, 2 MiB of
// both streams together, and reads nothing.
type lazy struct {
	gossh.Channel
	status chan uint32
}

func (l *lab) lazy(t *testing.T, c *gossh.Client, line string) *lazy {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	z := &lazy{ch, make(chan uint32, 1)}
	go func() {
		for r := range requests {
			var exit struct{ Status uint32 }
			if r.Type == "exit-status" && gossh.Unmarshal(r.Payload, &exit) == nil {
				z.status <- exit.Status
			}
		}
	}()
	if ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Line string }{line})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return z
}

// stuck returns when so many sessions wait for their clients and for nothing else.
func (l *lab) stuck(t *testing.T, sessions int) {
	t.Helper()
	b := l.backlog
	eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		still := 0
		for w := range b.waiting {
			if time.Since(w.since) > 5*b.grace {
				still++
			}
		}
		return still == sessions
	}, func() string { return "the sessions do not wait" })
}

// When output that nobody reads takes too much memory, the session ends that has
// waited longest, and is told; a client that is slow, and there, loses nothing.
func TestUnreadOutput(t *testing.T) {
	for _, line := range []string{"flood", "flood stderr"} {
		t.Run(line, func(t *testing.T) {
			inBubble(t, func(s *Server) {
				s.backlog.most, s.backlog.grace = 2*(perWrite+floodSize), 10*time.Millisecond
			}, func(t *testing.T, l *lab) {
				first, second := l.login(t, "alice"), l.login(t, "bob")
				one := l.lazy(t, first, line)
				l.stuck(t, 1)
				two := l.lazy(t, second, line)
				l.stuck(t, 2)
				select {
				case e := <-l.run.events:
					t.Fatal(e)
				default:
				}
				three := l.lazy(t, second, line)
				expectEvent(t, l, "flood ended")
				l.stuck(t, 2)
				l.log.expect(t, "the session that waited longest is ended\" user=alice")
				var told strings.Builder
				var reading sync.WaitGroup // both streams at once: it is told only for some seconds
				reading.Go(func() { _, _ = io.Copy(io.Discard, one) })
				reading.Go(func() {
					if _, err := io.Copy(&told, one.Stderr()); err != nil {
						t.Error(err)
					}
				})
				from := func(z *lazy) io.Reader {
					if line == "flood" {
						return z
					}
					return z.Stderr()
				}
				for _, z := range []*lazy{two, three} {
					if n, err := io.CopyN(io.Discard, from(z), 5<<20); err != nil {
						t.Errorf("a slow client read %d bytes: %v", n, err)
					}
				}
				reading.Wait()
				if status := <-one.status; status != 130 || !strings.HasSuffix(told.String(), "walt: "+errUnread.Error()+"\n  read it as it comes, or write it to a file and look at that\n") {
					s := told.String()
					t.Errorf("status %d, told %q", status, s[max(0, len(s)-200):])
				}
			})
		})
	}
}

// A shell at its prompt can be the one that waits longest, too, and so can one that
// asks.
func TestUnreadQuestion(t *testing.T) {
	inBubble(t, func(s *Server) {
		s.cancelGrace, s.backlog.most, s.backlog.grace = 50*time.Millisecond, perWrite+floodSize, 10*time.Millisecond
	}, func(t *testing.T, l *lab) {
		c := l.login(t, "alice")
		z := l.lazy(t, c, "fill")
		l.stuck(t, 1) // the question
		l.lazy(t, l.login(t, "bob"), "flood")
		if status := <-z.status; status != 130 {
			t.Errorf("status %d", status)
		}
	})
}

// A client that begins to exchange keys, and does not go on, keeps a packet
// waiting, not all that the library would keep for it.
func TestUnreadWhileKeysAreExchanged(t *testing.T) {
	inBubble(t, func(s *Server) { s.cancelGrace, s.backlog.grace = 50*time.Millisecond, 10*time.Millisecond }, func(t *testing.T, l *lab) {
		server, err := l.connect()
		if err != nil {
			t.Fatal(err)
		}
		w := &deaf{Conn: server, end: make(chan struct{})}
		config := l.config()
		config.RekeyThreshold = floodSize
		c, err := client(w, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			close(w.end)
			_ = c.Close()
		})
		l.lazy(t, c, "flood later")
		eventually(t, w.silent.Load, func() string { return "the client does not begin to exchange keys" })
		synctest.Wait() // the server has answered that
		close(l.run.later)
		l.stuck(t, 1)
		if n := l.run.flooded.Load(); n > 8*floodSize {
			t.Errorf("%d bytes were written that nobody took", n)
		}
	})
}

// deaf is a client's connection that hears nothing after the first that it says
// once it has heard a lot.
type deaf struct {
	net.Conn
	heard  atomic.Int64 // bytes
	silent atomic.Bool
	end    chan struct{}
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.heard.Load() > floodSize {
		d.silent.Store(true)
	}
	return d.Conn.Write(p)
}

func (d *deaf) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	d.heard.Add(int64(n))
	if d.silent.Load() {
		<-d.end
	}
	return n, err
}
