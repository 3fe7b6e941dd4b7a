package nfs

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/images/imagetest"
)

// link is the only cable to all clients: what is written takes its time, one after
// the other.
type link struct {
	net.Listener
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	free time.Time // when all is sent that was written
	sent int64     // bytes
}

const linkSpeed = 125_000_000 // bytes a second: a gigabit

func (l *link) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// dial connects a client with the address.
func (l *link) dial(t *testing.T, from string) *client {
	here, there := net.Pipe()
	l.accepted <- &cable{Conn: there, link: l, from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 700))}
	return &client{t: t, conn: here, in: bufio.NewReaderSize(here, 256<<10), cred: asRoot}
}

// cable is the server's side of a connection.
type cable struct {
	net.Conn
	link *link
	from net.Addr
}

func (c *cable) RemoteAddr() net.Addr { return c.from }

func (c *cable) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	now := time.Now()
	if c.link.free.Before(now) {
		c.link.free = now
	}
	c.link.free = c.link.free.Add(time.Duration(len(p)) * time.Second / linkSpeed)
	c.link.sent += int64(len(p))
	wait := c.link.free.Sub(now)
	c.link.mu.Unlock()
	time.Sleep(wait)
	return c.Conn.Write(p)
}

// Sixty machines that boot at once share the link: the last one is up when all
// bytes are through, and not much later than the first, whatever a greedy client
// asks for on all the connections that it gets. The time is not that of a clock, so
// this is about turns, not about speed.
func TestFairTurns(t *testing.T) {
	t.Parallel()
	d, tree := image(t, imagetest.Archive(t, regular("etc/f", strings.Repeat("x", 1<<20))))
	synctest.Test(t, func(t *testing.T) {
		const clients, files, pieces, greedy = 60, 4, 8, 4
		l := &link{accepted: make(chan net.Conn), closed: make(chan struct{})}
		s := &Server{Exports: open{tree}, Log: slog.New(slog.DiscardHandler), MaxConnsPerAddr: greedy}
		go s.Serve(l)
		begin := time.Now()
		for range greedy {
			c := l.dial(t, "10.0.0.1")
			etc, _ := c.lookup(c.mount(d), "etc")
			f, _ := c.lookup(etc, "f")
			call := slices.Clone(c.message(programNFS, version, 6, encode(f, uint64(0), readLimit)))
			go func() { // as many calls as it can have under way, until the server closes
				for {
					if _, err := c.conn.Write(call); err != nil {
						return
					}
				}
			}()
			go func() {
				for {
					if _, err := c.record(); err != nil {
						return
					}
				}
			}()
		}
		var done [clients]time.Duration
		var wg sync.WaitGroup
		for k := range clients {
			wg.Go(func() {
				c := l.dial(t, fmt.Sprintf("10.0.1.%d", k))
				defer c.conn.Close()
				root := c.mount(d)
				for range files {
					etc, _ := c.lookup(root, "etc")
					f, _ := c.lookup(etc, "f")
					for n := range uint64(pieces) {
						c.read(f, n*readLimit, readLimit)
					}
				}
				done[k] = time.Since(begin)
			})
		}
		wg.Wait()
		last, first := slices.Max(done[:]), slices.Min(done[:])
		alone := time.Duration(clients*files*pieces*readLimit) * time.Second / linkSpeed
		t.Logf("first %v, last %v, the bytes alone %v", first, last, alone)
		if last > alone*12/10 {
			t.Errorf("the last one is done after %v, the bytes alone take %v", last, alone)
		}
		if first < last*8/10 {
			t.Errorf("the first one is done after %v, the last one after %v", first, last)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
