package driver

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"walt/await"
	"walt/fault"
	"walt/pause"
)

const (
	// requestLimit is how long one request may take, unless the driver says so.
	requestLimit = 10 * time.Second
	// tries is how often a device is asked that does not answer.
	tries = 3
	// firstPause follows the first try that failed, see pause.Doubled.
	firstPause = 500 * time.Millisecond
	// staggered is how long after an outlet was switched on the next one is, so that a
	// lab that comes on does not blow the fuse.
	staggered = 200 * time.Millisecond
)

// ask has f ask the device of an outlet for it, when it is its turn, as often as it may help.
func (d *Drivers) ask(ctx context.Context, o Outlet, node string, f func(context.Context, Means, Target) error) error {
	have, done, err := d.use(o.Driver)
	if err != nil {
		return err
	}
	defer done()
	mine, leave, err := d.turns.wait(ctx, o.device())
	if err != nil {
		return err
	}
	defer leave()
	if mine.silent != nil {
		return mine.silent
	}
	for try := 0; ; try++ {
		err := have.once(ctx, o, node, f)
		_, refused := errors.AsType[Refusal](err)
		switch {
		case err == nil, refused, errors.Is(err, ErrNotSupported), ctx.Err() != nil:
			return err
		case try == tries-1:
			if _, silent := errors.AsType[silence](err); silent {
				mine.silent = err
				d.turns.forget(o.device(), mine)
			}
			return err
		}
		if try == 0 { // and until it is done
			defer await.Begin(ctx, node, "asking %s again", o.device())()
		}
		if err := pause.For(ctx, pause.Doubled(firstPause, try)); err != nil {
			return err
		}
	}
}

// silence is the error of a device that does not answer in time.
type silence struct{ error }

func (s silence) Unwrap() error { return s.error }

// Silent marks the error of a device that gave no answer, which names no outlet: after some
// tries all who wait for their turn there are told the same, and nothing else is tried.
func Silent(err error) error { return silence{err} }

// once is one try of ask.
func (d *opened) once(ctx context.Context, o Outlet, node string, f func(context.Context, Means, Target) error) error {
	limit := cmp.Or(d.Timeout, requestLimit)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(limited, d.Means, Target{Host: o.Host, Port: o.Port, Node: node})
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return silence{fault.Failedf("%s did not answer within %v", o.device(), limit).WithHint("see that it is on and can be reached from the server")}
	}
	return err
}

// turns are those at devices: each is asked one thing at a time.
type turns struct {
	mu   sync.Mutex
	held map[Outlet]*turn // by Outlet.device, as long as somebody uses it
}

// turn is that at one device. Who has its token may use the rest.
type turn struct {
	token chan struct{}
	users int // turns.mu guards it
	// silent is why the device did not answer: those who wait are told, too.
	silent error
}

// wait returns when it is one's turn at a device, until leave.
func (t *turns) wait(ctx context.Context, device Outlet) (mine *turn, leave func(), err error) {
	mine, left := t.queue(device)
	select {
	case mine.token <- struct{}{}:
		return mine, func() {
			<-mine.token
			left()
		}, nil
	case <-ctx.Done():
		left()
		return nil, nil, ctx.Err()
	}
}

// queue joins those who want to ask a device.
func (t *turns) queue(device Outlet) (mine *turn, leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine = t.held[device]; mine == nil {
		mine = &turn{token: make(chan struct{}, 1)}
		t.held[device] = mine
	}
	mine.users++
	return mine, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 && t.held[device] == mine {
			delete(t.held, device)
		}
	}
}

// forget has who comes later try again, and not join those who wait.
func (t *turns) forget(device Outlet, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[device] == mine {
		delete(t.held, device)
	}
}

// stagger keeps outlets from being switched on at once.
type stagger struct {
	mu   sync.Mutex
	next time.Time
}

// wait returns when one more outlet may be switched on.
func (s *stagger) wait(ctx context.Context) error {
	s.mu.Lock()
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	mine := s.next
	s.next = mine.Add(staggered)
	s.mu.Unlock()
	return pause.For(ctx, mine.Sub(now))
}
