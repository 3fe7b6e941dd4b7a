package sshd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"walt/fault"
)

// maxChunk is how much, in bytes, is given to the library at once: it copies
// that, and the client may be of the kind that takes packets of any size. Most
// take as much as this in one.
const maxChunk = 32 << 10

// outlet is where the output of a session leaves for its client, both streams by
// turns. Who writes waits until the client takes it, or until the session does
// not wait any more: the library itself cannot be interrupted.
type outlet struct {
	conn    *conn
	backlog *backlog
	unread  atomic.Bool                // the client said that nobody reads it
	over    context.Context            // nobody waits for the client any more
	giveUp  context.CancelFunc         // ends over
	tooMuch func(waited time.Duration) // ends the session, since others need the memory
	gone    func()                     // ends it, since its client takes nothing any more
	turn    chan struct{}              // holds one while something is on its way to the client
	chunks  *sync.Pool                 // of *[maxChunk]byte, for all
}

func newOutlet(c *conn, tooMuch func(waited time.Duration), gone func()) *outlet {
	o := &outlet{conn: c, backlog: c.srv.backlog, tooMuch: tooMuch, gone: gone, turn: make(chan struct{}, 1), chunks: &c.srv.chunks}
	o.over, o.giveUp = context.WithCancel(context.Background())
	return o
}

// stream is one direction of a channel.
type stream struct {
	*outlet
	to io.Writer
}

func (s stream) Write(p []byte) (int, error) {
	w := s.backlog.enter(len(p), s.tooMuch)
	defer s.backlog.leave(w)
	return s.write(s.over, s.to, p, func() { s.backlog.took(w) })
}

// write writes p to one direction of the channel, and calls took for each part
// that the client took while there is more. What is on its way when ctx ends may
// still arrive; nothing after it does.
func (o *outlet) write(ctx context.Context, to io.Writer, p []byte, took func()) (n int, err error) {
	if o.unread.Load() {
		return 0, io.ErrClosedPipe
	}
	if len(p) == 0 {
		return 0, nil
	}
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, io.ErrClosedPipe
	}
	chunk := o.chunks.Get().(*[maxChunk]byte)
	rest := p // whoever called has it back when ctx ends
	for {
		size := copy(chunk[:], rest)
		sent := make(chan error, 1)
		go o.send(to, chunk[:size], sent) // ends when the client took it, or with the channel
		select {
		case err := <-sent:
			if rest = rest[size:]; err != nil || len(rest) == 0 {
				o.chunks.Put(chunk)
				<-o.turn
				if err != nil { // this may be noticed before the end of the channel
					o.gone()
				}
				return len(p) - len(rest), err
			}
			took()
		case <-ctx.Done():
			go func() { // ends with send
				<-sent
				<-o.turn
			}()
			return len(p) - len(rest), io.ErrClosedPipe
		}
	}
}

// send gives a chunk to the library. That keeps what is written while keys are
// exchanged, which the client may take its time for, so what leaves the server is
// what counts.
func (o *outlet) send(to io.Writer, chunk []byte, sent chan<- error) {
	defer func() {
		if p := recover(); p != nil {
			sent <- fmt.Errorf("panic: %v", p)
		}
	}()
	before := o.conn.sent.count()
	_, err := to.Write(chunk)
	if err == nil {
		o.conn.sent.wait(before)
	}
	sent <- err
}

// idle returns when nothing is on its way to the client any more.
func (o *outlet) idle() {
	o.turn <- struct{}{}
	<-o.turn
}

// tooMuchUnread ends the session, since its client did not read for longest.
func (x *session) tooMuchUnread(waited time.Duration) {
	x.srv.log.Warn("too much output waits for clients that do not read: the session that waited longest is ended",
		"user", x.login.User, "from", x.conn.from, "waited", waited.Round(time.Second))
	x.cancel(errUnread)
	x.out.giveUp()
}

// inputUnread ends the session, since its command did not read for longest.
func (x *session) inputUnread() {
	x.cancel(errNoReader)
	if !x.started.Load() { // nothing else ends it
		x.in.discard()
		go func() { _ = x.ch.Close() }() // ends when the client takes that, or with the connection
	}
}

// tellUnread tells why the session ended, in case that the client reads now.
func (x *session) tellUnread() {
	ctx, cancel := context.WithTimeout(context.Background(), x.srv.hangUpGrace)
	defer cancel()
	why := fault.As(errUnread)
	text, to := fmt.Sprintf("walt: %s\n  %s\n", why.Msg, why.Hint), io.Writer(x.ch.Stderr())
	if x.tty != nil {
		text, to = strings.ReplaceAll("\n"+text, "\n", "\r\n"), x.ch
	}
	_, _ = x.out.write(ctx, to, []byte(text), func() {})
}

// printable is a text that a client chose, made fit for logs and terminals:
// without control characters and not longer than limit.
func printable(text string, limit int) string {
	text = strings.ToValidUTF8(text[:min(len(text), limit)], "?")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
