package images

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// shared does one piece of work for all who want it at the same time: who comes
// while it runs waits for the same result. Whoever stops waiting does not
// disturb the others; when nobody waits any more the work is cancelled. The zero
// value is ready.
type shared[T any] struct {
	mu    sync.Mutex
	calls map[string]*call[T]
}

type call[T any] struct {
	waiting int
	cancel  context.CancelFunc
	count   atomic.Int64  // how far it is
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
}

// glance is how often who waits is told how far the work is.
const glance = 100 * time.Millisecond

// do returns what work returns for the key, or ctx's error when that ends first.
// The context of work ends when nobody waits any more.
func (s *shared[T]) do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
	return s.watch(ctx, key, nil, func(ctx context.Context, _ *atomic.Int64) (T, error) { return work(ctx) })
}

// watch is do for who wants to know, meanwhile, how far work has counted. A told
// that takes its time delays nobody else.
func (s *shared[T]) watch(ctx context.Context, key string, told func(int64), work func(context.Context, *atomic.Int64) (T, error)) (T, error) {
	c := s.join(ctx, key, work)
	var ticks <-chan time.Time
	if told != nil {
		t := time.NewTicker(glance)
		defer t.Stop()
		ticks = t.C
	}
	for ctx.Err() == nil {
		select {
		case <-c.done:
			return c.value, c.err
		case <-ticks:
			told(c.count.Load())
		case <-ctx.Done():
		}
	}
	if s.leave(key, c) {
		c.cancel()
		<-c.done // so that nothing of it is left behind
	}
	var none T
	return none, context.Cause(ctx)
}

func (s *shared[T]) join(ctx context.Context, key string, work func(context.Context, *atomic.Int64) (T, error)) *call[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[key]
	if c == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &call[T]{cancel: cancel, done: make(chan struct{})}
		if s.calls == nil {
			s.calls = map[string]*call[T]{}
		}
		s.calls[key] = c
		go s.run(ctx, key, c, work) // ends with work, which leave cancels
	}
	c.waiting++
	return c
}

// leave reports whether nobody waits for c any more; then newcomers start anew.
func (s *shared[T]) leave(key string, c *call[T]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.waiting--
	if c.waiting > 0 {
		return false
	}
	s.forget(key, c)
	return true
}

func (s *shared[T]) run(ctx context.Context, key string, c *call[T], work func(context.Context, *atomic.Int64) (T, error)) {
	defer close(c.done)
	defer c.cancel()
	defer func() {
		if p := recover(); p != nil { // work reads what strangers wrote: no input may end the server
			c.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(key, c)
	}()
	c.value, c.err = work(ctx, &c.count)
}

func (s *shared[T]) forget(key string, c *call[T]) {
	if s.calls[key] == c {
		delete(s.calls, key)
	}
}
