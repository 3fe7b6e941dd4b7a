package intake

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

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

// stream takes the lines of a connection, no faster than they can be kept. It ends when the
// node changes hands: what is still to be read was said before.
func (s *Server) stream(ctx context.Context, conn net.Conn) {
	addr, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	from := addr.AddrPort().Addr().Unmap()
	first, known := s.speaker(ctx, from)
	r, p := bufio.NewReaderSize(conn, most), newParser()
	if !known {
		return
	}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idle)) // an error shows when it is read
		b, err := frame(r)
		if err != nil {
			return
		}
		who, known := s.speaker(ctx, from)
		if !known || who != first {
			return
		}
		stream, lines := lines(p.syslog(b))
		for _, line := range lines {
			if s.source(who).Wait(ctx) != nil {
				return
			}
			for !s.lines.Add(who.node, who.owner, stream, line) {
				if s.lines.Room(ctx) != nil {
					return
				}
			}
		}
	}
}

// frame reads one message: behind its length, as in "9 <13>hello", or up to the end of the
// line. It is valid until the next call; of one that is too long the rest is skipped.
func frame(r *bufio.Reader) ([]byte, error) {
	n, err := length(r)
	switch {
	case err != nil:
		return nil, err
	case n > 0:
		return counted(r, n)
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

// length reads the length of a message, which is in front of what begins with "<"; 0 when
// there is none: then it is a line, which may begin with digits, too.
func length(r *bufio.Reader) (n int, err error) {
	for i := 1; i <= 8; i++ {
		b, err := r.Peek(i)
		if err != nil {
			if i > 1 && errors.Is(err, io.EOF) { // the last line
				err = nil
			}
			return 0, err
		}
		switch c := b[i-1]; {
		case c >= '0' && c <= '9' && b[0] != '0':
			n = n*10 + int(c-'0')
		case c == ' ' && n > 0:
			if b, _ := r.Peek(i + 1); len(b) <= i || b[i] != '<' {
				return 0, nil
			}
			_, err := r.Discard(i)
			return n, err
		default:
			return 0, nil
		}
	}
	return 0, nil // longer than any message
}

func counted(r *bufio.Reader, n int) ([]byte, error) {
	b := make([]byte, min(n, most))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	_, err := r.Discard(n - len(b))
	return b, err
}
