// Package nodelogs keeps what nodes say, line by line, in files of its own: apart
// from the journal, whose events are few and matter. Of each node the newest lines are
// kept; a node that says much takes no room from the others. How lines come in is not its
// business, see nodelogs/intake. Its one surprising rule: a line carries the time at which
// it came and who owned the node then, whatever it says itself; no two lines have the same
// time, which is their order.
package nodelogs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"walt/auth"
	"walt/ethernet"
)

// Line is what a node said at once.
type Line struct {
	Time   time.Time    // when it came, UTC, in microseconds
	Node   ethernet.MAC // who said it
	Owner  auth.Name    // who had the node then; auth.Nobody: it was free
	Stream string       // what in the node said it, as "kernel"
	Text   string       // without its end, valid UTF-8; it may hold control characters
}

// Limits are of what is kept.
type Limits struct {
	Size int64         // bytes of all nodes together
	Each int64         // bytes of one node
	Age  time.Duration // of a line; 0: any
}

const (
	// flushAfter is how long a line may be in memory alone.
	flushAfter = 100 * time.Millisecond
	// mostWaiting is how many bytes may wait for the disk, of all nodes together.
	mostWaiting = 16 << 20
	// mostStream and mostText are how long the parts of a line may be, in bytes: what is
	// longer is cut, of a text with a mark.
	mostStream, mostText = 64, 8 << 10
	// mostLine is how long a line may be in a file, in bytes.
	mostLine = mostText + mostStream + 128
	// sweepEvery is how often lines are looked for that are too old.
	sweepEvery = 10 * time.Minute
)

// Store is the lines of all nodes. Its methods may be called at the same time.
type Store struct {
	dir string
	log *slog.Logger
	now func() time.Time

	added chan struct{} // receives when a line waits of which Run does not know

	// writing is held by who writes to files, or removes some; mu may be taken with it, not
	// the other way round.
	writing sync.Mutex

	mu      sync.Mutex
	limits  Limits
	ready   chan struct{} // closed when logs has what the directory has
	logs    map[ethernet.MAC]*nodeLog
	dirty   []*nodeLog    // that have lines waiting
	last    int64         // time of the newest line, microseconds since 1970
	waiting int           // bytes of lines that are in memory alone
	flushed chan struct{} // closed, and made anew, when lines reached their files
	size    int64         // bytes of all files
	failing bool          // lines could not be written last
}

// Open returns the store in a directory, which Run makes live; it need not exist.
func Open(dir string, log *slog.Logger, now func() time.Time) *Store {
	return &Store{
		dir: dir, log: log, now: now, added: make(chan struct{}, 1), ready: make(chan struct{}), flushed: make(chan struct{}),
		logs: map[ethernet.MAC]*nodeLog{}, limits: Limits{Size: 1 << 30, Each: 16 << 20},
	}
}

// SetLimits replaces the limits, also while the store is live.
func (s *Store) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// Run brings lines to their files until ctx ends, and those that are left then.
func (s *Store) Run(ctx context.Context) error {
	if err := s.load(); err != nil {
		s.log.Error("read which lines of nodes there are", "dir", s.dir, "err", err)
	}
	close(s.ready)
	s.sweep()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var flush <-chan time.Time // nil while no line waits
	for {
		select {
		case <-ctx.Done():
			s.flush()
			return nil
		case <-s.added:
			if flush == nil {
				flush = time.After(flushAfter)
			}
		case <-flush:
			flush = nil
			s.flush()
		case <-sweep.C:
			s.sweep()
		}
	}
}

// ours is the stream of what the server says of a node's lines.
const ours = "walt"

// Add keeps what a node says now. It reports false, and keeps nothing, when the disk does not
// keep up with the lines that came before. It waits until the store is live. What the node says
// is never of the stream of Note.
func (s *Store) Add(node ethernet.MAC, owner auth.Name, stream, text string) bool {
	if stream = plainStream(stream); stream == ours {
		stream += "_"
	}
	return s.add(node, owner, stream, text)
}

// Note is Add for what the server says of the lines of a node.
func (s *Store) Note(node ethernet.MAC, owner auth.Name, text string) bool {
	return s.add(node, owner, ours, text)
}

func (s *Store) add(node ethernet.MAC, owner auth.Name, stream, text string) bool {
	text = plainText(text)
	<-s.ready // when the time of the last line is known
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= mostWaiting {
		return false
	}
	s.keep(node, owner, stream, text)
	return true
}

// keep has a line wait for the disk. s.mu is held.
func (s *Store) keep(node ethernet.MAC, owner auth.Name, stream, text string) {
	s.last = max(s.last+1, s.now().UnixMicro())
	l := s.logs[node]
	if l == nil {
		l = &nodeLog{node: node}
		s.logs[node] = l
	}
	if len(l.waiting) == 0 {
		l.first = s.last
		s.dirty = append(s.dirty, l)
		select {
		case s.added <- struct{}{}:
		default:
		}
	}
	before := len(l.waiting)
	l.waiting = appendLine(l.waiting, s.last, owner, stream, text)
	l.owner = owner
	s.waiting += len(l.waiting) - before
}

// Room waits until Add would keep a line.
func (s *Store) Room(ctx context.Context) error {
	for {
		s.mu.Lock()
		room, flushed := s.waiting < mostWaiting, s.flushed
		s.mu.Unlock()
		if room {
			return nil
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Now is when a line would come that came now: later than all that came, and before all that
// will.
func (s *Store) Now() time.Time {
	<-s.ready
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, s.now().UnixMicro())
	return time.UnixMicro(s.last).UTC()
}
