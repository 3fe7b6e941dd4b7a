package power

import (
	"context"
	"sync"
	"time"

	"walt/fault"
	"walt/pause"
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
	tries int       // that failed
	next  time.Time // not again before
}

// reconcile makes ports what they are ordered to be, until ctx ends: those that
// nobody attends to, those that failed, and at its start all, since an earlier
// end of the server may have cut off who attended to them.
func (p *Ports) reconcile(ctx context.Context) error {
	watch := p.Store.Watch(orders.Prefix(""))
	defer watch.Close()
	var work sync.WaitGroup // it ends with ctx
	defer work.Wait()
	done := make(chan trial)
	running, last := map[Port]bool{}, map[Port]trial{}
	for started := false; ; started = true {
		all, err := p.orders(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for port := range last {
			if _, open := all[port]; !open {
				delete(last, port)
			}
		}
		again := recheck
		for port, o := range all {
			if running[port] {
				continue
			}
			t := last[port]
			due := p.Now()
			switch {
			case t.order.same(o):
				due = t.next
			case o.Attended && started:
				due = o.Since.Add(attendance)
			}
			if wait := due.Sub(p.Now()); wait > 0 {
				again = min(again, wait)
				continue
			}
			running[port] = true
			work.Go(func() {
				t := trial{port: port, order: o, tries: t.tries, err: p.Execute(ctx, port)}
				select {
				case done <- t:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		case <-watch.Changed():
		case t := <-done:
			delete(running, t.port)
			last[t.port] = p.after(t)
		}
	}
}

// after says when an order that was carried out, or not, is looked at again.
func (p *Ports) after(t trial) trial {
	if t.err == nil {
		t.tries, t.next = 0, p.Now().Add(recheck)
		return t
	}
	if fault.As(t.err) == nil {
		p.Log.Error("switch a port", "port", t.port.key(), "err", t.err)
	}
	t.next = p.Now().Add(pause.Doubled(firstPause, t.tries))
	t.tries++
	return t
}
