// Package tftp sends files to firmware that knows nothing better: TFTP, read-only, as in
// RFC 1350, 2347 to 2349 and 7440. Which files there are, and for whom, is not its
// business. Its one surprising rule: what a client confirms twice changes nothing. Blocks
// are sent again when it was silent, or confirmed only some of a window.
package tftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// transfers is how many requests are answered at once: those beyond are not, and come
	// again. That is room for more clients than a lab takes strangers in: all of these
	// together keep nobody out. transfersEach is how many of them are of one client.
	transfers, transfersEach = 4096, 8
	// requestSize is how many bytes a request has at most.
	requestSize = 1500
)

// File is what a client asked for.
type File struct {
	io.ReaderAt
	io.Closer
	// Size is how many bytes it has, Unknown as long as it grows: it ends where ReadAt says
	// io.EOF, and where that says ErrLater it is read again after Pause.
	Size  int64
	Pause time.Duration
	// Block is how many bytes the client gets at once at most, if it lets the server choose;
	// 0 for as many as it asks for.
	Block int
	// Blocks is how many blocks of it the client can count, 0 for any number: there is
	// firmware for which they do not begin anew at 0.
	Blocks int64
	// Sent is called, unless it is nil, when sending has ended: with how many bytes the
	// client has confirmed, and how long that took.
	Sent func(bytes int64, took time.Duration)
	// Refused is called, unless it is nil, when the client does not get the file after all:
	// with the reason.
	Refused func(why string)
}

// Unknown is the size of a file that grows.
const Unknown = -1

// ErrLater says that a file is being made. The client is not answered: it asks again.
var ErrLater = errors.New("the file is being made")

// Files are what clients ask for.
type Files interface {
	// Open opens a file for the client with an address. Of an error that is
	// fs.ErrNotExist the client is told that there is none, of others that it cannot have it.
	Open(client netip.Addr, name string) (File, error)
}

// Server sends files.
type Server struct {
	Files Files
	// Dial opens a UDP socket of the server to a client: each transfer has its own.
	Dial func(netip.AddrPort) (net.Conn, error)
	Log  *slog.Logger

	wait time.Duration // for a client before it is sent the same again, 0: as usual
}

// Serve answers the requests that come from conn, a socket of port 69, until ctx ends or
// that is closed. It returns when all transfers have ended.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ctx, cancel := context.WithCancel(ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	b, busy := make([]byte, requestSize), &turns{of: map[netip.Addr][]*turn{}}
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil && (ctx.Err() != nil || errors.Is(err, net.ErrClosed)) {
			return nil
		}
		if err != nil {
			return err
		}
		client, is := from.(*net.UDPAddr)
		if !is {
			continue
		}
		to := client.AddrPort()
		r, wrong := parseRequest(b[:n])
		if wrong == nil && r == nil {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		mine := busy.begin(to.Addr(), end)
		if mine == nil {
			end()
			continue
		}
		sending.Go(func() { // ends with ctx, or when the client is silent
			defer busy.leave(to.Addr(), mine)
			s.answer(ctx, to, r, wrong, mine)
		})
	}
}

// turns are the requests that are answered at a moment.
type turns struct {
	mu  sync.Mutex
	of  map[netip.Addr][]*turn
	sum int // of them

	words atomic.Int64 // how often a client confirmed something
}

// turn is one of them.
type turn struct {
	all   *turns
	end   context.CancelFunc
	ended bool         // to have room for another one; all is locked
	heard atomic.Int64 // which of all.words was the last one of its client; 0: no file is sent yet
}

func (t *turn) hears() { t.heard.Store(t.all.words.Add(1)) }

// begin counts one more of a client; nil when there are too many. Among those of the client
// the file ends instead of which nothing was heard for the longest time: firmware that does
// not confirm the last block of one, or forgot it when it began anew, asks for the next.
func (t *turns) begin(client netip.Addr, end context.CancelFunc) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sum == transfers {
		return nil
	}
	if all := t.of[client]; len(all) >= transfersEach {
		var silent *turn
		for _, o := range all {
			if at := o.heard.Load(); !o.ended && at > 0 && (silent == nil || at < silent.heard.Load()) {
				silent = o
			}
		}
		if silent == nil {
			return nil
		}
		silent.ended = true
		silent.end()
	}
	one := &turn{all: t, end: end}
	t.of[client] = append(t.of[client], one)
	t.sum++
	return one
}

// leave takes back one begin.
func (t *turns) leave(client netip.Addr, one *turn) {
	one.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum--
	if t.of[client] = slices.DeleteFunc(t.of[client], func(o *turn) bool { return o == one }); len(t.of[client]) == 0 {
		delete(t.of, client)
	}
}

// answer answers a request, or says what is wrong with it.
func (s *Server) answer(ctx context.Context, to netip.AddrPort, r *request, wrong *failure, mine *turn) {
	conn, err := s.Dial(to)
	if err != nil {
		s.Log.Debug("answer who asks for a file", "to", to, "err", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if wrong == nil {
		wrong = s.send(conn, to.Addr().Unmap(), r, mine)
	}
	if wrong != nil {
		_, _ = conn.Write(wrong.packet()) // who does not hear it asks again
	}
}

// send sends the file that is asked for, and returns what the client is to be told else.
func (s *Server) send(conn net.Conn, client netip.Addr, r *request, mine *turn) *failure {
	f, err := s.Files.Open(client, r.file)
	switch {
	case errors.Is(err, ErrLater):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &failure{notFound, "there is no such file"}
	case err != nil:
		s.Log.Debug("open a file for who asks", "for", client, "file", r.file, "err", err)
		return &failure{denied, "this file is not for you"}
	}
	defer f.Close()
	began := time.Now()
	t := transfer{conn: conn, file: f, terms: r.terms(f.Block, cmp.Or(s.wait, usualWait)), heard: mine.hears}
	if f.Blocks > 0 && f.Size/int64(t.block)+1 > f.Blocks {
		s.Log.Debug("a file is too large for who asks", "for", client, "file", r.file, "bytes", f.Size, "block", t.block, "blocks", f.Blocks)
		why := fmt.Sprintf("this file of %d MiB is too large for your firmware", f.Size>>20)
		if f.Refused != nil {
			f.Refused(why)
		}
		return &failure{denied, why}
	}
	mine.hears()
	err = t.run(r)
	if f.Sent != nil {
		f.Sent(t.sent(), time.Since(began))
	}
	if err != nil {
		s.Log.Debug("a file was not sent to its end", "to", client, "file", r.file, "bytes", t.sent(), "of", f.Size, "err", err)
		return nil
	}
	s.Log.Debug("sent a file", "to", client, "file", r.file, "bytes", f.Size, "took", time.Since(began))
	return nil
}
