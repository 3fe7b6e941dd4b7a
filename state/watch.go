package state

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrClosed is returned by Next after the watch or its store was closed.
var ErrClosed = errors.New("state: closed")

// maxPending is how many changed rows a Watch holds for a slow reader before it
// forgets them and reports an overflow instead. One commit may have more. That of a
// mirror, which is soon read, holds maxMirrored.
const maxPending, maxMirrored = 1024, 16 << 10

// Batch is what one commit changed under the prefixes of a watch.
type Batch struct {
	Version Version
	Rows    []Row // in the order of the writes, perhaps with repetitions; the Value of a row that was deleted is nil
	// Overflow says that changes up to Version were missed, and that Rows are
	// none: read everything that is watched again.
	Overflow bool
}

// Watch collects the rows under some prefixes that commits changed. It never
// delays a commit: a reader that falls behind by 1024 rows is told to read
// everything again.
type Watch struct {
	prefixes []string
	close    func(*Watch)

	mu      sync.Mutex
	pending []Batch // one overflow, or commits in their order
	rows    int     // in pending
	most    int     // rows that it holds
	closed  bool
	signal  chan struct{} // holds one token while there is something to take
	full    chan struct{} // receives when many rows are there
}

// Next waits for a commit that was not returned yet and returns what it changed.
func (w *Watch) Next(ctx context.Context) (Batch, error) {
	for {
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-w.signal: // perhaps once more after what it was for was taken
		}
		b, ok, err := w.Take()
		if ok || err != nil {
			return b, err
		}
	}
}

// Changed receives after commits that changed something that is watched, once
// for all that came since it received last, and when the watch was closed. It is
// for a loop that does not call Next.
func (w *Watch) Changed() <-chan struct{} { return w.signal }

// Take returns what the next commit changed that was not returned yet, and
// whether there is one, without waiting. Its error is ErrClosed.
func (w *Watch) Take() (b Batch, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.wake() // for the next caller
		return Batch{}, false, ErrClosed
	}
	if len(w.pending) == 0 {
		return Batch{}, false, nil
	}
	b, w.pending = w.pending[0], w.pending[1:]
	w.rows -= len(b.Rows)
	if len(w.pending) > 0 {
		w.wake()
	}
	return b, true, nil
}

// Close ends the watch; a waiting Next returns ErrClosed.
func (w *Watch) Close() {
	w.close(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
}

// behind reports whether there is something to take.
func (w *Watch) behind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) > 0 || w.closed
}

func (w *Watch) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *Watch) add(v Version, rows []Row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := Batch{Version: v}
	for _, row := range rows {
		if slices.ContainsFunc(w.prefixes, func(prefix string) bool { return strings.HasPrefix(row.Key, prefix) }) {
			b.Rows = append(b.Rows, row)
		}
	}
	if len(b.Rows) == 0 {
		return
	}
	if n := len(w.pending); n > 0 && (w.pending[0].Overflow || w.rows+len(b.Rows) > w.most) {
		b.Rows, b.Overflow = nil, true
		w.pending, w.rows = nil, 0
	}
	w.pending = append(w.pending, b)
	w.rows += len(b.Rows)
	w.wake()
	if w.rows >= maxPending/4 {
		select {
		case w.full <- struct{}{}:
		default:
		}
	}
}

// hold has it hold so many rows.
func (w *Watch) hold(rows int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = rows
}

// gather returns after a while in which more may come, or when much is there; an old
// token of full has it return at once.
func (w *Watch) gather(ctx context.Context, while time.Duration) {
	late := time.NewTimer(while)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-w.full:
	case <-late.C:
	}
}

// Watches is the set of watches of one store: implementations of Store call
// Notify after each commit. The zero value is ready.
type Watches struct {
	mu  sync.Mutex
	all map[*Watch]struct{}
}

// Add makes a Watch on the prefixes.
func (ws *Watches) Add(prefixes ...string) *Watch {
	w := &Watch{prefixes: prefixes, close: ws.remove, most: maxPending, signal: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*Watch]struct{}{}
	}
	ws.all[w] = struct{}{}
	return w
}

// Notify tells every watch of the rows that one commit changed. Commits are
// notified in the order of their versions.
func (ws *Watches) Notify(v Version, rows []Row) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.add(v, rows)
	}
}

// Close ends all watches.
func (ws *Watches) Close() {
	ws.mu.Lock()
	all := ws.all
	ws.all = nil
	ws.mu.Unlock()
	for w := range all {
		w.Close()
	}
}

func (ws *Watches) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}
