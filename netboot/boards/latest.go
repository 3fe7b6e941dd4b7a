package boards

import (
	"context"
	"sync"
)

// latest is what was found out last about something that is looked at again and again.
// Who asks before the first time waits for that.
type latest[T any] struct {
	mu    sync.Mutex
	is    T
	err   error
	known chan struct{} // closed after the first time
}

func newLatest[T any]() *latest[T] { return &latest[T]{known: make(chan struct{})} }

func (l *latest[T]) set(is T, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is, l.err = is, err
	select {
	case <-l.known:
	default:
		close(l.known)
	}
}

func (l *latest[T]) get(ctx context.Context) (is T, err error) {
	select {
	case <-l.known:
	case <-ctx.Done():
		return is, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.is, l.err
}
