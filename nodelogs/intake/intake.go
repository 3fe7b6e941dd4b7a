// Package intake takes the lines that nodes send over the network: syslog (RFC 5424 and
// RFC 3164, by UDP, and by TCP as RFC 6587 has it) and the messages of Linux kernels, as
// netconsole sends them. Who says a line is who has the address that it came from, whatever
// it says itself; lines from other addresses are dropped, and counted. Its one surprising
// rule: a node that says more than its share is read more slowly if it uses TCP, and loses
// lines if it uses UDP: then there is a line that says how many.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
	// Note is Add for what the server says of the lines of a node.
	Note(node ethernet.MAC, owner auth.Name, text string) bool
	Room(ctx context.Context) error
}

// Server takes what nodes say on several networks. Its methods may be called at the same time.
type Server struct {
	lab   Lab
	lines Lines
	log   *slog.Logger
	each  int // lines of one node a second

	mu       sync.Mutex
	sources  map[speaker]*source // that said something of late
	troubles map[string]*trouble // that the lab knows, or will be told of
}

// speaker is who says something: a node in the hands of an owner, at an address.
type speaker struct {
	at    netip.Addr
	node  ethernet.MAC
	owner auth.Name
}

// source is what is known of a speaker.
type source struct {
	*rate.Limiter
	kernel kernel
	lost   int       // lines, of which nothing was told yet
	last   time.Time // when it said something
}

// New returns a server without a network.
func New(lab Lab, lines Lines, log *slog.Logger) *Server {
	return &Server{lab: lab, lines: lines, log: log, each: linesEach, sources: map[speaker]*source{}, troubles: map[string]*trouble{}}
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
	p := newParser()
	g.Go(func() error {
		return s.packets(ctx, on.UDP, func(_ *source, b []byte) (string, []string) { return lines(p.syslog(b)) })
	})
	g.Go(func() error { return s.packets(ctx, on.Netconsole, s.netconsole) })
	g.Go(func() error { return s.tell(ctx, on.UDP, on.Netconsole) })
	return g.Wait()
}

// taker takes a packet apart: which lines it has or completes, of which stream.
type taker func(src *source, b []byte) (stream string, lines []string)

// packets takes the packets of a socket.
func (s *Server) packets(ctx context.Context, conn net.PacketConn, take taker) error {
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
			s.packet(ctx, addr.AddrPort().Addr().Unmap(), b[:n], take)
		}
	}
}

func (s *Server) packet(ctx context.Context, from netip.Addr, b []byte, take taker) {
	who, known := s.speaker(ctx, from)
	if !known {
		return
	}
	src := s.source(who)
	stream, lines := take(src, b)
	for _, line := range lines {
		if !src.Allow() || !s.lines.Add(who.node, who.owner, stream, line) {
			s.mu.Lock()
			src.lost++
			s.mu.Unlock()
		}
	}
}

// speaker returns who has an address; one that is no node's is noted.
func (s *Server) speaker(ctx context.Context, from netip.Addr) (who speaker, known bool) {
	who.at = from
	who.node, who.owner, known = s.lab.Speaker(ctx, from)
	if !known {
		s.trouble(strangersKey, fmt.Sprintf("lines from addresses that no node has are dropped, the first from %s", from), 1)
	}
	return who, known
}

// source returns what is known of a speaker.
func (s *Server) source(who speaker) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[who]
	if src == nil {
		src = &source{Limiter: rate.NewLimiter(rate.Limit(s.each), 2*s.each)}
		s.sources[who] = src
	}
	src.last = time.Now()
	return src
}
