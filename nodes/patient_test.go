package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"walt/auth"
	"walt/fault"
)

// begin has a user wait, as the client of that number.
func (m *model) begin(ctx context.Context, l testLab, user auth.Name, want Want, line string, id int, c client) *patient {
	p := &patient{says: make(chan bool, 1), left: make(chan struct{}), asked: make(chan struct{})}
	late := context.CancelFunc(func() {})
	if !c.deadline.IsZero() {
		ctx, late = context.WithDeadline(ctx, c.deadline)
	}
	var wait func()
	p.queuing, wait = l.prepare(ctx, user, want, Waiting{
		Line: line, Stopping: p.stopping.Load,
		Alive: func(context.Context) bool {
			if c.how != stuck {
				return c.how == answers
			}
			if !isClosed(p.asked) {
				close(p.asked)
			}
			select {
			case there := <-p.says:
				return there
			case <-p.left:
				return false
			}
		},
	})
	context.AfterFunc(ctx, late)
	m.patients[id] = p // before another command interrupts it
	go wait()
	return p
}

// leave ends it.
func (p *patient) leave() {
	p.cancel()
	if !isClosed(p.left) {
		close(p.left)
	}
}

// outcome is what it was told.
func (p *patient) outcome() string {
	switch {
	case p.err == nil:
		var names []Name
		for _, ch := range p.result.Changes {
			names = append(names, ch.Node)
		}
		slices.SortFunc(names, naturalNames)
		return fmt.Sprint("got ", names)
	case errors.Is(p.err, context.Canceled):
		return "quit"
	case errors.Is(p.err, context.DeadlineExceeded):
		return "timeout"
	}
	if f := fault.As(p.err); f == nil || f.Kind != fault.Interrupted {
		return failed
	}
	return "cancelled"
}

// patient is a client that waits.
type patient struct {
	*queuing
	says     chan bool     // what it answers in the end, when it is stuck
	left     chan struct{} // closed when it ends
	asked    chan struct{} // closed when it is stuck and is asked
	stopping atomic.Bool   // since the server does
}
