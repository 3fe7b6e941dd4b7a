// Package intake takes the lines that nodes send over the network: syslog (RFC 5424 and
// RFC 3164, by UDP, and by TCP as RFC 6587 has it) and the messages of Linux kernels, as
// netconsole sends them. Who says a line is who has the address that it came from, whatever
// it says itself; lines from other addresses are dropped, and counted. Its one surprising
// rule: a node that says more than its share is read more slowly if it uses TCP, and loses
// lines if it uses UDP: then there is a line that says how many.
package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"walt/auth"
	"walt/ethernet"
)

// The ports that nodes send to.
const (
	SyslogPort     = 514  // RFC 3164, by UDP; by TCP usual, though registered for another protocol
	NetconsolePort = 6666 // Linux Documentation/networking/netconsole.rst
)

const (
	// linesEach is how many lines of one node are taken a second; at once they may be twice
	// as many.
	linesEach = 10_000
	// most is how long a line may be on the wire, in bytes; the rest of it is skipped.
	most = 16 << 10
	// tellEvery is how often it is told what was lost.
	tellEvery = time.Second
	// calmAfter is when lines that were dropped are no trouble any more.
	calmAfter = time.Minute
	// idle is how long a connection may say nothing: a node that is gone does not close it.
	idle = 24 * time.Hour
)

// Lab is who knows the nodes.
type Lab interface {
	// Speaker returns which node has an address, and who owns it now; false for none.
	Speaker(ctx context.Context, from netip.Addr) (ethernet.MAC, auth.Name, bool)
	// Troubled is told of what is wrong on the network, under a key, until Calmed is.
	Troubled(ctx context.Context, key, text string)
	Calmed(key string)
}

// Lines keeps what nodes say, as nodelogs.Store does.
type Lines interface {
	Add(node ethernet.MAC, owner auth.Name, stream, text string) bool
	Room(ctx context.Context) error
}

// Server takes what nodes say on several networks. Its methods may be called at the same time.
type Server struct {
	lab   Lab
	lines Lines
	log   *slog.Logger
	each  int // lines of one node a second

	mu        sync.Mutex
	sources   map[netip.Addr]*source // that said something of late
	strangers strangers
	dropped   uint64               // packets that nobody read in time
	troubles  map[string]time.Time // when the lab was told last of each that it knows
}

// source is an address that a node has.
type source struct {
	*rate.Limiter
	lost int       // lines, of which nothing was told yet
	last time.Time // when it said something
}

// strangers are the addresses without a node that lines came from.
type strangers struct {
	lines int        // of which nothing was told yet
	first netip.Addr // of these
}

// New returns a server without a network.
func New(lab Lab, lines Lines, log *slog.Logger) *Server {
	return &Server{lab: lab, lines: lines, log: log, each: linesEach, sources: map[netip.Addr]*source{}, troubles: map[string]time.Time{}}
}

// Sockets are where the nodes of one network send to.
type Sockets struct {
	TCP        net.Listener   // syslog
	UDP        net.PacketConn // syslog
	Netconsole net.PacketConn
}

// Dropper is a socket that knows how many packets it had no room for.
type Dropper interface{ Dropped() uint64 }

// Serve takes what comes until ctx ends, and closes the sockets.
func (s *Server) Serve(ctx context.Context, on Sockets) error {
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { on.TCP.Close(); on.UDP.Close(); on.Netconsole.Close() })()
	g.Go(func() error { return s.accept(ctx, on.TCP) })
	g.Go(func() error { return s.packets(ctx, on.UDP, newParser().syslog) })
	g.Go(func() error { return s.packets(ctx, on.Netconsole, netconsole) })
	g.Go(func() error { return s.tell(ctx, on.UDP, on.Netconsole) })
	return g.Wait()
}

// packets takes the packets of a socket, each of which may have several lines.
func (s *Server) packets(ctx context.Context, conn net.PacketConn, parse func([]byte) (stream, text string)) error {
	b := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // of one packet
			continue
		}
		if addr, ok := from.(*net.UDPAddr); ok {
			s.packet(ctx, addr.AddrPort().Addr().Unmap(), b[:n], parse)
		}
	}
}

func (s *Server) packet(ctx context.Context, from netip.Addr, b []byte, parse func([]byte) (stream, text string)) {
	node, owner, known := s.lab.Speaker(ctx, from)
	if !known {
		s.strange(from)
		return
	}
	src := s.source(from)
	stream, text := parse(b)
	for line := range strings.SplitSeq(text, "\n") {
		if !src.Allow() || !s.lines.Add(node, owner, stream, line) {
			s.mu.Lock()
			src.lost++
			s.mu.Unlock()
		}
	}
}

// source returns what is known of an address that a node has.
func (s *Server) source(from netip.Addr) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[from]
	if src == nil {
		src = &source{Limiter: rate.NewLimiter(rate.Limit(s.each), 2*s.each)}
		s.sources[from] = src
	}
	src.last = time.Now()
	return src
}

func (s *Server) strange(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strangers.lines++; s.strangers.lines == 1 {
		s.strangers.first = from
	}
}

// accept takes connections, each in a goroutine of its own, which ends with it.
func (s *Server) accept(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no file descriptor left, say
			time.Sleep(50 * time.Millisecond)
			continue
		}
		conns.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.stream(ctx, conn)
		})
	}
}

// stream takes the lines of a connection, no faster than they can be kept.
func (s *Server) stream(ctx context.Context, conn net.Conn) {
	addr, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	from := addr.AddrPort().Addr().Unmap()
	r, p := bufio.NewReaderSize(conn, most), newParser()
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idle)) // an error shows when it is read
		b, err := frame(r)
		if err != nil {
			return
		}
		node, owner, known := s.lab.Speaker(ctx, from)
		if !known {
			s.strange(from)
			return
		}
		stream, text := p.syslog(b)
		for line := range strings.SplitSeq(text, "\n") {
			if s.source(from).Wait(ctx) != nil {
				return
			}
			for !s.lines.Add(node, owner, stream, line) {
				if s.lines.Room(ctx) != nil {
					return
				}
			}
		}
	}
}

// frame reads one message: behind its length, as in "5 hello", or up to the end of the line.
// It is valid until the next call; of one that is too long the rest is skipped.
func frame(r *bufio.Reader) ([]byte, error) {
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] >= '1' && first[0] <= '9' {
		return counted(r)
	}
	b, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		if len(b) > 0 && errors.Is(err, io.EOF) {
			err = nil
		}
		return b, err
	}
	b = append([]byte(nil), b...)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return b, err
}

// errFrame is that of a length that is none.
var errFrame = errors.New("no length of a message")

func counted(r *bufio.Reader) ([]byte, error) {
	n := 0
	for {
		c, err := r.ReadByte()
		switch {
		case err != nil:
			return nil, err
		case c == ' ':
			b := make([]byte, min(n, most))
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, err
			}
			_, err := r.Discard(n - len(b))
			return b, err
		case c < '0' || c > '9' || n > 1<<20:
			return nil, errFrame
		}
		n = n*10 + int(c-'0')
	}
}

// tell tells, while there is something to tell, what was lost and what was dropped.
func (s *Server) tell(ctx context.Context, conns ...net.PacketConn) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	before := make([]uint64, len(conns))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.calm()
		s.tellLost(ctx)
		s.tellStrangers(ctx)
		for i, conn := range conns {
			if d, ok := conn.(Dropper); ok {
				now := d.Dropped()
				s.tellDropped(ctx, now-before[i])
				before[i] = now
			}
		}
	}
}

const (
	strangersKey = "lines of strangers"
	droppedKey   = "lines dropped"
)

// tellLost has a line say of each node how many of its lines were lost.
func (s *Server) tellLost(ctx context.Context) {
	s.mu.Lock()
	lost := map[netip.Addr]int{}
	for addr, src := range s.sources {
		if src.lost > 0 {
			lost[addr], src.lost = src.lost, 0
		} else if time.Since(src.last) > time.Hour {
			delete(s.sources, addr)
		}
	}
	s.mu.Unlock()
	for addr, n := range lost {
		node, owner, known := s.lab.Speaker(ctx, addr)
		if known && !s.lines.Add(node, owner, Lost, fmt.Sprintf("%d lines were lost here: a node may say %d a second", n, s.each)) {
			s.mu.Lock()
			if src := s.sources[addr]; src != nil {
				src.lost += n
			}
			s.mu.Unlock()
		}
	}
}

// Lost is the stream of lines that say how many of a node were lost.
const Lost = "walt"

func (s *Server) tellStrangers(ctx context.Context) {
	s.mu.Lock()
	x := s.strangers
	s.strangers = strangers{}
	s.mu.Unlock()
	if x.lines > 0 {
		s.trouble(ctx, strangersKey, fmt.Sprintf("lines that %s says are dropped: no node has that address", x.first))
	}
}

func (s *Server) tellDropped(ctx context.Context, n uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.dropped += n
	all := s.dropped
	s.mu.Unlock()
	const what = "lines of nodes were lost: they came faster by UDP than they could be taken"
	s.log.Warn(what, "packets", n, "since_start", all)
	s.trouble(ctx, droppedKey, what)
}

// trouble tells the lab of one.
func (s *Server) trouble(ctx context.Context, key, text string) {
	s.mu.Lock()
	s.troubles[key] = time.Now()
	s.mu.Unlock()
	s.lab.Troubled(ctx, key, text)
}

// calm tells the lab of the troubles that are over.
func (s *Server) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, told := range s.troubles {
		if time.Since(told) > calmAfter {
			delete(s.troubles, key)
			s.lab.Calmed(key)
		}
	}
}
