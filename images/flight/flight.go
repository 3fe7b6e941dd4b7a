// Package flight has work that several want at the same time done once, as
// golang.org/x/sync/singleflight does, for work that takes long: who waits may
// watch how far it is, and may leave. Its one surprising rule: the work is
// cancelled when nobody waits for it any more.
package flight

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Group is work by keys. Who asks for a key while its work runs waits for the
// same result. The zero value is ready.
type Group[T any] struct {
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

// tellEvery is how often those who wait are told how far the work is.
const tellEvery = 100 * time.Millisecond

// Do returns what work returns for the key, or ctx's error when that ends first.
// The context of work ends when nobody waits any more.
func (g *Group[T]) Do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
	return g.Watch(ctx, key, nil, func(ctx context.Context, _ *atomic.Int64) (T, error) { return work(ctx) })
}

// Watch is Do for one who wants to know, meanwhile, how far work has counted. A slow
// told delays nobody else.
func (g *Group[T]) Watch(ctx context.Context, key string, told func(int64), work func(context.Context, *atomic.Int64) (T, error)) (T, error) {
	c := g.join(ctx, key, work)
	var ticks <-chan time.Time
	if told != nil {
		t := time.NewTicker(tellEvery)
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
	if g.leave(key, c) {
		c.cancel()
		<-c.done // so that nothing of it is left behind
	}
	var none T
	return none, context.Cause(ctx)
}

func (g *Group[T]) join(ctx context.Context, key string, work func(context.Context, *atomic.Int64) (T, error)) *call[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.calls[key]
	if c == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &call[T]{cancel: cancel, done: make(chan struct{})}
		if g.calls == nil {
			g.calls = map[string]*call[T]{}
		}
		g.calls[key] = c
		go g.run(ctx, key, c, work) // ends with work, which leave cancels
	}
	c.waiting++
	return c
}

// leave reports whether nobody waits for c any more; then newcomers start anew.
func (g *Group[T]) leave(key string, c *call[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.waiting--
	if c.waiting > 0 {
		return false
	}
	g.forget(key, c)
	return true
}

func (g *Group[T]) run(ctx context.Context, key string, c *call[T], work func(context.Context, *atomic.Int64) (T, error)) {
	defer close(c.done)
	defer c.cancel()
	defer func() {
		if p := recover(); p != nil { // work reads what strangers wrote: no input may end the server
			c.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.forget(key, c)
	}()
	c.value, c.err = work(ctx, &c.count)
}

func (g *Group[T]) forget(key string, c *call[T]) {
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}
