package power

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"walt/fault"
	"walt/pause"
	"walt/state"
)

const (
	// firstPause follows the first failure of an order, see pause.Doubled.
	firstPause = 5 * time.Second
	// recheck is how often a port that is off is looked at: a switch that lost
	// its power may have forgotten it.
	recheck = 10 * time.Minute
)

// trial is the last time that reconcile carried out an order.
type trial struct {
	port  Port
	order order
	err   error
	begun time.Time
	tries int       // that failed
	next  time.Time // not again before
}

// reconcile makes ports what they are ordered to be, until ctx ends: those that
// nobody attends to, those that failed, and at its start all, since an earlier
// end of the server may have cut off who attended to them.
func (p *Ports) reconcile(ctx context.Context) error {
	w := &worklist{Ports: p, watch: p.Store.Watch(orders.Prefix("")), done: make(chan trial)}
	defer w.watch.Close()
	defer w.work.Wait()
	err := w.load(ctx, func(Port) time.Time { return time.Time{} })
	for ; err == nil; err = w.wait(ctx) {
		for {
			port, due := w.next.pop(p.Now())
			if !due {
				break
			}
			w.begin(ctx, port)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// anew is a trial that failed, and is made again at once.
func (t trial) anew() trial {
	if t.err != nil && t.port.fed() {
		t.tries, t.next = 0, time.Time{}
	}
	return t
}

// worklist is the orders as they change, and when each of them is looked at next.
type worklist struct {
	*Ports
	watch   *state.Watch
	open    map[Port]order
	last    map[Port]trial
	running map[Port]bool
	drivers time.Time // when they were last set
	next    agenda
	work    sync.WaitGroup // it ends with the context of reconcile
	done    chan trial
}

// load reads all orders, and has each of them looked at when due says.
func (w *worklist) load(ctx context.Context, due func(Port) time.Time) (err error) {
	if w.open, err = w.orders(ctx); err != nil {
		return err
	}
	if w.last == nil {
		w.last, w.running = map[Port]trial{}, map[Port]bool{}
	}
	w.next = agenda{at: map[Port]time.Time{}}
	for port := range w.last {
		if _, open := w.open[port]; !open {
			delete(w.last, port)
		}
	}
	for port := range w.open {
		w.next.put(port, due(port))
	}
	return nil
}

// due is when the order of a port is to be carried out.
func (w *worklist) due(port Port) (at time.Time) {
	now, o, t := w.Now(), w.open[port], w.last[port]
	switch {
	case t.order.same(o):
		at = t.next
	case o.Attended: // by a clock that may have been set back since, or be at any time
		at = now.Add(min(attendance, o.Since.Add(attendance).Sub(now)))
	}
	cut := w.troubles.of(port).cut // whoever tried that
	if o.Will != turnOff || cut.IsZero() || cut.Before(w.drivers) {
		return at
	}
	if again := now.Add(min(recheck, cut.Add(recheck).Sub(now))); again.After(at) {
		return again // so that it is not cut again and again
	}
	return at
}

// begin carries out the order of a port, unless that is being done.
func (w *worklist) begin(ctx context.Context, port Port) {
	if w.running[port] {
		return
	}
	o, tries := w.open[port], w.last[port].tries
	w.running[port] = true
	w.work.Go(func() {
		t := trial{port: port, order: o, tries: tries, begun: w.Now()}
		t.err = w.execute(ctx, port, o)
		select {
		case w.done <- t:
		case <-ctx.Done():
		}
	})
}

// wait returns when there may be something to do.
func (w *worklist) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(recheck, w.next.first().Sub(w.Now()))):
	case <-w.watch.Changed():
		return w.follow(ctx)
	case <-w.driversSet:
		w.drivers = w.Now()
		for port := range w.open {
			if t, tried := w.last[port]; tried {
				w.last[port] = t.anew()
			}
			w.next.put(port, w.due(port))
		}
	case t := <-w.done:
		delete(w.running, t.port)
		t = w.after(t)
		if t.begun.Before(w.drivers) {
			t = t.anew()
		}
		if _, open := w.open[t.port]; open {
			w.last[t.port] = t
			w.next.put(t.port, w.due(t.port))
		}
	}
	return nil
}

// follow notes the orders that changed.
func (w *worklist) follow(ctx context.Context) error {
	for {
		b, ok, err := w.watch.Take()
		if err != nil || !ok {
			return err
		}
		if b.Overflow {
			if err := w.load(ctx, w.due); err != nil {
				return err
			}
			continue
		}
		changes, err := orders.Changes(b)
		if err != nil {
			return err
		}
		for _, c := range changes {
			port := portOf(c.Key)
			if c.Row == nil {
				delete(w.open, port)
				delete(w.last, port)
				w.next.remove(port)
				continue
			}
			w.open[port] = *c.Row
			w.next.put(port, w.due(port))
		}
	}
}

// agenda is when ports are to be looked at, each once.
type agenda struct {
	at    map[Port]time.Time
	turns turns // in which those that at knows nothing of are void
}

// turn is a port that is to be looked at.
type turn struct {
	at   time.Time
	port Port
}

func (a *agenda) put(port Port, at time.Time) {
	if was, known := a.at[port]; !known || !was.Equal(at) {
		a.at[port] = at
		heap.Push(&a.turns, turn{at, port})
	}
}

func (a *agenda) remove(port Port) { delete(a.at, port) }

// first is when the first port is to be looked at, or a time that nobody waits for.
func (a *agenda) first() time.Time {
	for len(a.turns) > 0 {
		t := a.turns[0]
		if at, known := a.at[t.port]; known && at.Equal(t.at) {
			return t.at
		}
		heap.Pop(&a.turns)
	}
	return never
}

// pop takes a port off whose time has come.
func (a *agenda) pop(now time.Time) (port Port, due bool) {
	if a.first().After(now) {
		return Port{}, false
	}
	port = heap.Pop(&a.turns).(turn).port
	delete(a.at, port)
	return port, true
}

// never is later than any time that is waited for.
var never = time.Unix(1<<40, 0)

// turns is a heap.
type turns []turn

func (t turns) Len() int           { return len(t) }
func (t turns) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t turns) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *turns) Push(x any)        { *t = append(*t, x.(turn)) }

func (t *turns) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// after says when an order that was carried out, or not, is looked at again. One that is
// open though all was done that can be, as to wake a node, is tried again, too.
func (p *Ports) after(t trial) trial {
	if t.err == nil && t.order.Will == turnOff {
		if t.tries, t.next = 0, p.Now().Add(recheck); t.port.fed() && t.order.Cut.IsZero() {
			t.next = p.Now().Add(astrayAfter)
		}
		return t
	}
	if t.err != nil && fault.As(t.err) == nil {
		p.Log.Error("switch a port", "port", t.port.key(), "err", t.err)
	}
	t.next = p.Now().Add(pause.Doubled(firstPause, t.tries))
	t.tries++
	return t
}
