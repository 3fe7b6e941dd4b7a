package console

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// replay is how many of the bytes that were written before are shown to who sits down.
	replay = 64 << 10
	// ahead is how many bytes who reads may be behind.
	ahead = 512 << 10
	// typeLimit is for how long what is typed is offered to a node that takes nothing, and
	// fullLimit for how long the next is, so that nobody waits for each piece of a long text.
	typeLimit = 5 * time.Second
	fullLimit = 50 * time.Millisecond
	// breakTime is for how long a line is held for a BREAK: longer than any character takes, at
	// 50 baud, too.
	breakTime = 250 * time.Millisecond
)

// Plug is what a line is connected to: what is written there, a node reads.
type Plug interface {
	io.Writer
	SetWriteDeadline(time.Time) error
	// Break holds the line for longer than any character does, which nodes understand as a
	// key apart from all others. The error is ErrNoBreak where that cannot be asked for.
	Break(context.Context) error
}

// Line is the serial line of one node.
type Line struct {
	term func() string
	kept *record
	log  *slog.Logger

	mu      sync.Mutex
	of      string        // the term of what follows
	read    bool          // what earlier servers kept was looked at
	tail    []byte        // the last that was written
	end     int64         // how many bytes were, up to the end of tail
	changed chan struct{} // closed when there is more

	plug   Plug // nil: there is nobody
	why    string
	seats  int
	writer *Seat // nil: nobody

	told sync.Once // that the disk takes nothing
}

// Feed takes what the node wrote. It never waits for those who sit at the line.
func (l *Line) Feed(b []byte) {
	term := l.term()
	if len(b) == 0 || term == "" {
		return
	}
	l.mu.Lock()
	l.recall(term)
	l.mu.Unlock()
	if err := l.kept.write(term, b); err != nil {
		l.told.Do(func() { l.log.Error("keep what a node writes on its serial line", "err", err) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of != term {
		l.of, l.tail, l.end = term, nil, 0
	}
	l.tail = append(l.tail, b...)
	most := replay
	if l.seats > 0 {
		most = ahead
	}
	if len(l.tail) > 2*most { // else each byte would move all of them
		l.tail = slices.Delete(l.tail, 0, len(l.tail)-most)
	}
	l.end += int64(len(b))
	l.wake()
}

// wake tells all who sit there that something changed; l.mu is held.
func (l *Line) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// recall has at hand what an earlier server kept of a term; l.mu is held.
func (l *Line) recall(term string) {
	if l.read {
		return
	}
	l.read = true
	last, err := l.kept.last(term, replay)
	if err != nil {
		l.log.Error("read what a node wrote on its serial line", "err", err)
	}
	l.of, l.tail, l.end = term, last, int64(len(last))
}

// PlugIn connects the line.
func (l *Line) PlugIn(p Plug) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plug, l.why = p, ""
}

// Unplug has the line lead nowhere, for a reason in words for users.
func (l *Line) Unplug(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plug, l.why = nil, why
}

// Plugged reports whether the line leads to the node, and if not, why.
func (l *Line) Plugged() (is bool, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plug != nil, l.why
}

// History returns what is kept of a term, the oldest first. Who reads it closes it.
func (l *Line) History(term string) (io.ReadCloser, error) { return l.kept.open(term) }

// Last returns the last that was written in a term.
func (l *Line) Last(term string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recall(term)
	if l.of != term {
		return nil
	}
	return slices.Clone(l.tail[max(0, len(l.tail)-replay):])
}
