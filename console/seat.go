package console

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrUnplugged says that the line leads to no node now.
	ErrUnplugged = errors.New("nothing is connected to the serial line")
	// ErrElsewhere says that the node is, or runs what is, of another term.
	ErrElsewhere = errors.New("what runs there is not of this term")
	// ErrFull says that the node did not take what was typed.
	ErrFull = errors.New("the node takes no input")
	// ErrNoBreak says that what the line leads to takes characters alone.
	ErrNoBreak = errors.New("a raw connection (tcp://) passes on no BREAK")
)

// Seat is where one user sits at a line, who reads, and writes if nobody else does.
type Seat struct {
	line *Line
	who  string
	now  func() string // the term in which who sits here has the node by now, "" for none
	full bool          // the node did not take the last that was written; guarded by who writes

	asks chan string // see Asks

	// guarded by the line's mu
	term  string
	at    int64 // in the line, as its end
	asked *Seat // who was asked last to let this one write
}

// Sit gives a user a seat, until Leave, in a term of the node. Reading begins with the
// last 64 KiB that were written in that term. now says in which later term the user has the
// node, "" when somebody else has it: what is written in that is not read.
func (l *Line) Sit(who, term string, now func() string) *Seat {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seats++
	l.recall(term)
	s := &Seat{line: l, who: who, now: now, term: term, asks: make(chan string, 1)}
	if l.of == term {
		s.at = l.end - int64(min(len(l.tail), replay))
	}
	return s
}

// Leave gives up the seat.
func (s *Seat) Leave() {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seats--
	if l.writer == s {
		l.writer = nil
	}
}

// Read waits until the node has written something, and reads it. lost is how many bytes
// before that were not kept for one who reads so slowly. The error is that of ctx.
func (s *Seat) Read(ctx context.Context, p []byte) (n int, lost int64, err error) {
	for {
		n, lost, elsewhere, changed := s.read(p)
		switch {
		case n > 0:
			return n, lost, nil
		case elsewhere && s.follow():
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// read is Read without waiting. It reports whether what was written last is of another term,
// and returns what is closed when there is more.
func (s *Seat) read(p []byte) (n int, lost int64, elsewhere bool, changed <-chan struct{}) {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of != s.term {
		return 0, 0, true, l.changed
	}
	first := l.end - int64(len(l.tail))
	if s.at < first {
		lost, s.at = first-s.at, first
	}
	n = copy(p, l.tail[s.at-first:])
	s.at += int64(n)
	return n, lost, false, l.changed
}

// follow goes on in the next term if who sits here has the node in that, too, as one who sat
// at a free node and took it. It reports whether that is so.
func (s *Seat) follow() bool {
	term := s.now()
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	if term == "" || term == s.term {
		return false
	}
	s.term, s.at = term, 0
	return true
}

// Take has the user be who writes, unless somebody else does, whose name it returns. One who
// sits there several times writes from the seat where that was wanted last.
func (s *Seat) Take() (other string, took bool) {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer == nil || l.writer.who == s.who {
		l.writer = s
	}
	return l.writer.who, l.writer == s
}

// Ask has who writes be told, once, that the user would do so.
func (s *Seat) Ask() {
	l := s.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer == nil || l.writer == s || s.asked == l.writer {
		return
	}
	s.asked = l.writer
	select {
	case l.writer.asks <- s.who:
	default: // as somebody else did just now
	}
}

// Asks has the names of those who would write in the place of who sits here.
func (s *Seat) Asks() <-chan string { return s.asks }

// Write writes to the node for who has taken the line, and returns how much of it the node
// took. It waits for as long as the node goes on to take some; the error is ErrUnplugged,
// ErrElsewhere, ErrFull, or why it is written no more.
func (s *Seat) Write(b []byte) (int, error) {
	limit := typeLimit
	if s.full {
		limit = fullLimit
	}
	for n := 0; ; {
		plug, err := s.plug()
		if err != nil {
			return n, err
		}
		took := 0
		if err = plug.SetWriteDeadline(time.Now().Add(limit)); err == nil {
			took, err = plug.Write(b[n:])
		}
		n += took
		var late interface{ Timeout() bool }
		switch {
		case err == nil:
			s.full = false
			return n, nil
		case !errors.As(err, &late) || !late.Timeout():
			return n, ErrUnplugged
		case took == 0:
			s.full = true
			return n, ErrFull
		}
	}
}

// Break has the line held for a moment, by who has taken it. The error is ErrNoBreak, or that
// of Write.
func (s *Seat) Break() error {
	plug, err := s.plug()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), typeLimit)
	defer cancel()
	if err = plug.Break(ctx); err != nil && !errors.Is(err, ErrNoBreak) {
		s.line.log.Warn("a BREAK did not reach a node", "err", err)
		return ErrUnplugged
	}
	return err
}

// plug is what the line is connected to now, for who may write there.
func (s *Seat) plug() (Plug, error) {
	l := s.line
	term := l.term()
	l.mu.Lock()
	plug, mine, here := l.plug, l.writer == s, s.term == term
	l.mu.Unlock()
	switch {
	case !here && !(s.follow() && s.now() == term):
		return nil, ErrElsewhere
	case !mine:
		return nil, io.ErrClosedPipe
	case plug == nil:
		return nil, ErrUnplugged
	}
	return plug, nil
}
