// Package tftp sends files to firmware that knows nothing better: TFTP, read-only, as in
// RFC 1350, 2347 to 2349 and 7440. Which files there are, and for whom, is not its
// business. Its one surprising rule: what a client confirms twice changes nothing. Blocks
// are sent again when it was silent, or confirmed only some of a window.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"walt/crowd"
)

const (
	// transfers is how many files are sent at once, and transfersEach how many of them to
	// one client: those beyond are not answered, and asked for again. That is room for more
	// clients than a lab takes strangers in: all of these together keep nobody out.
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
}

// Serve answers the requests that come from conn, a socket of port 69, until ctx ends or
// that is closed. It returns when all transfers have ended.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ctx, cancel := context.WithCancel(ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	b, busy := make([]byte, requestSize), crowd.New(transfersEach, transfers)
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
		if wrong == nil && r == nil || !busy.Enter(to.Addr()) {
			continue
		}
		sending.Go(func() { // ends with ctx, or when the client is silent
			defer busy.Leave(to.Addr())
			s.answer(ctx, to, r, wrong)
		})
	}
}

// answer answers a request, or says what is wrong with it.
func (s *Server) answer(ctx context.Context, to netip.AddrPort, r *request, wrong *failure) {
	conn, err := s.Dial(to)
	if err != nil {
		s.Log.Debug("answer who asks for a file", "to", to, "err", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if wrong == nil {
		wrong = s.send(conn, to.Addr().Unmap(), r)
	}
	if wrong != nil {
		_, _ = conn.Write(wrong.packet()) // who does not hear it asks again
	}
}

// send sends the file that is asked for, and returns what the client is to be told else.
func (s *Server) send(conn net.Conn, client netip.Addr, r *request) *failure {
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
	t := transfer{conn: conn, file: f, terms: r.terms(f.Block)}
	if f.Blocks > 0 && f.Size/int64(t.block)+1 > f.Blocks {
		s.Log.Debug("a file is too large for who asks", "for", client, "file", r.file, "bytes", f.Size, "block", t.block, "blocks", f.Blocks)
		why := fmt.Sprintf("this file of %d MiB is too large for your firmware", f.Size>>20)
		if f.Refused != nil {
			f.Refused(why)
		}
		return &failure{denied, why}
	}
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
