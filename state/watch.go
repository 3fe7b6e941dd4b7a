package state

import (
	"context"
	"errors"
	"strings"
	"sync"
)

// ErrClosed is returned by Next after the watch or its store was closed.
var ErrClosed = errors.New("state: closed")

// maxPending is how many changed keys a Watch holds for a slow reader before it
// forgets them and reports an overflow instead.
const maxPending = 1024

// Watch collects the keys under one prefix that commits changed. It never
// delays a commit: a reader that falls behind by 1024 keys is told to read
// everything again.
type Watch struct {
	prefix string
	close  func(*Watch)

	mu       sync.Mutex
	pending  []string
	overflow bool
	closed   bool
	signal   chan struct{} // holds one token while there is something to take
}

// Next waits for a commit and returns the keys changed since the last call, in
// commit order, perhaps with repetitions. No keys and no error means that
// changes were missed: read everything again.
func (w *Watch) Next(ctx context.Context) ([]string, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.signal:
		}
		keys, ok, err := w.take()
		if ok || err != nil {
			return keys, err
		}
	}
}

// take empties the watch. It is not ok when there was nothing to take: the
// signal may come once more after what it was for was taken.
func (w *Watch) take() (keys []string, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.wake() // for the next caller
		return nil, false, ErrClosed
	}
	keys, ok = w.pending, w.overflow || len(w.pending) > 0
	w.pending, w.overflow = nil, false
	return keys, ok, nil
}

// Close ends the watch; a waiting Next returns ErrClosed.
func (w *Watch) Close() {
	w.close(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
}

func (w *Watch) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *Watch) add(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range keys {
		if !strings.HasPrefix(k, w.prefix) {
			continue
		}
		if len(w.pending) == maxPending {
			w.pending, w.overflow = nil, true
		}
		if !w.overflow {
			w.pending = append(w.pending, k)
		}
		w.wake()
	}
}

// Watches is the set of watches of one store: implementations of Store call
// Notify after each commit. The zero value is ready.
type Watches struct {
	mu  sync.Mutex
	all map[*Watch]struct{}
}

// Add makes a Watch on the prefix.
func (ws *Watches) Add(prefix string) *Watch {
	w := &Watch{prefix: prefix, close: ws.remove, signal: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*Watch]struct{}{}
	}
	ws.all[w] = struct{}{}
	return w
}

// Notify tells every watch of the keys that one commit changed.
func (ws *Watches) Notify(keys []string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.add(keys)
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
