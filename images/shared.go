package images

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
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
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
}

// do returns what work returns for the key, or ctx's error when that ends first.
// The context of work ends when nobody waits any more.
func (s *shared[T]) do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
	c := s.join(ctx, key, work)
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
	}
	if s.leave(key, c) {
		c.cancel()
		<-c.done // so that nothing of it is left behind
	}
	var none T
	return none, context.Cause(ctx)
}

func (s *shared[T]) join(ctx context.Context, key string, work func(context.Context) (T, error)) *call[T] {
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

func (s *shared[T]) run(ctx context.Context, key string, c *call[T], work func(context.Context) (T, error)) {
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
	c.value, c.err = work(ctx)
}

func (s *shared[T]) forget(key string, c *call[T]) {
	if s.calls[key] == c {
		delete(s.calls, key)
	}
}
