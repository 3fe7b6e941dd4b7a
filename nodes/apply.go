package nodes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/journal"
	"walt/power/snmp"
	"walt/state"
)

// portLimit is how long one port may take, its switch being silent.
const portLimit = 30 * time.Second

// apply makes a port what it is meant to be: the one place that does. Whoever
// comes first works at the port and its switch; the order is read only then, so
// that the last one to come follows the newest.
func (l *Lab) apply(ctx context.Context, p Port) error {
	leave, err := l.lines.hold(ctx, p.key())
	if err != nil {
		return err
	}
	defer leave()
	sw, o, err := l.ordered(ctx, p)
	if err != nil || o.Will == "" {
		return err
	}
	did := o
	err = l.lines.use(ctx, sw.Switch, func(agent Agent) error {
		if _, did, err = l.ordered(ctx, p); err != nil || did.Will == "" {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, portLimit)
		defer cancel()
		return did.make(limited, agent, p.Number)
	})
	if did.Will == "" || ctx.Err() != nil && err != nil {
		return err
	}
	return errors.Join(err, l.applied(ctx, sw, p, did, err))
}

// ordered reads what is meant to become of a port.
func (l *Lab) ordered(ctx context.Context, p Port) (sw managed, o order, err error) {
	err = l.Store.View(ctx, func(r state.Reader) (err error) {
		if o, err = orders.Get(r, p.key()); err == nil {
			sw, err = getSwitch(r, p.Switch)
		}
		if errors.Is(err, state.ErrNotFound) {
			o, err = order{}, nil
		}
		return err
	})
	return sw, o, err
}

// make has the agent do it. What is so already is not written again.
func (o order) make(ctx context.Context, agent Agent, port int) error {
	asked := time.Now()
	on, err := agent.Power(ctx, port)
	switch {
	case err != nil:
		return silent(err, asked)
	case o.Will == cycle:
		return agent.Cycle(ctx, port, snmp.CyclePause)
	case on == (o.Will == turnOn):
		return nil
	}
	return agent.SetPower(ctx, port, o.Will == turnOn)
}

// applied notes what came of an order that was carried out, or not.
func (l *Lab) applied(ctx context.Context, sw managed, p Port, did order, failure error) error {
	_, err := l.Store.Update(context.WithoutCancel(ctx), func(tx state.Tx) error {
		o, err := orders.Get(tx, p.key())
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case failure != nil:
			return l.failed(tx, sw, p, o, did, reason(failure))
		case did.Will == turnOff:
			return l.cut(tx, sw, p, o)
		default:
			return l.restored(tx, sw, p, o, did)
		}
	})
	if err == nil && failure == nil && did.Will == turnOff {
		l.status.change(did.Node, func(s *Status) { *s = Status{State: Off} })
	}
	if _, silent := errors.AsType[silence](failure); silent || failure == nil {
		l.contact(Name(sw.Name), failure)
	}
	if failure != nil {
		l.kickPorts()
	}
	return err
}

// failed notes why a port is not what it should be. A power cycle is not tried
// again later, when it would be a surprise; that the port has power is.
func (l *Lab) failed(tx state.Tx, sw managed, p Port, o, did order, why string) error {
	if sw.gone {
		e := l.powered(sw, p, o, "", "gave up: "+why)
		return errors.Join(orders.Delete(tx, p.key()), l.tidy(tx, p.Switch), l.Journal.Record(tx, e))
	}
	if o.same(did) && o.Will == cycle {
		o.Will, o.Since = turnOn, l.Now().UTC()
	} else if o.Error == why {
		return nil
	}
	o.Error = why
	return errors.Join(orders.Put(tx, p.key(), o), l.Journal.Record(tx, l.powered(sw, p, o, "", fmt.Sprintf("could not turn it %s: %s", did.Will, why))))
}

// cut notes that a port is off.
func (l *Lab) cut(tx state.Tx, sw managed, p Port, o order) error {
	if !o.Cut.IsZero() && o.Error == "" {
		return nil // it was looked at again
	}
	if o.Cut.IsZero() {
		o.Cut = l.Now().UTC()
	}
	o.Error = ""
	return errors.Join(orders.Put(tx, p.key(), o), l.Journal.Record(tx, l.powered(sw, p, o, "off", "switched off to save power")))
}

// restored notes that a port has power, which it may have to lose again.
func (l *Lab) restored(tx state.Tx, sw managed, p Port, o, did order) error {
	if !o.Cut.IsZero() {
		sum, err := saved.Get(tx, string(p.Switch))
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if err := saved.Put(tx, string(p.Switch), sum+l.Now().Sub(o.Cut)); err != nil {
			return err
		}
	}
	if !o.same(did) {
		o.Cut = time.Time{}
		return orders.Put(tx, p.key(), o)
	}
	if err := errors.Join(orders.Delete(tx, p.key()), l.tidy(tx, p.Switch)); err != nil || did.Will == cycle {
		return err
	}
	return l.Journal.Record(tx, l.powered(sw, p, o, "on", "has its power back"))
}

// tidy drops the settings of a switch that was forgotten when none of its ports
// needs them any more.
func (l *Lab) tidy(tx state.Tx, sw ethernet.MAC) error {
	_, err := macs.Get(tx, string(sw))
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	for _, err := range orders.Keys(tx, string(sw)+"/") {
		return err
	}
	return switches.Delete(tx, string(sw))
}

// powered is the event of a port.
func (l *Lab) powered(sw managed, p Port, o order, to, detail string) journal.Event {
	return journal.Event{
		Type: journal.Power, Actor: journal.Server, Node: string(o.Node), To: to,
		Detail: fmt.Sprintf("port %d of %s: %s", p.Number, sw.Name, detail),
	}
}

// reason is an error in words for users.
func reason(err error) string {
	if f := fault.As(err); f != nil {
		return f.Msg
	}
	return "internal error"
}

func (l *Lab) kickPorts() {
	select {
	case l.port <- struct{}{}:
	default:
	}
}

const (
	// firstPause follows the first failure of an order; it doubles up to 64 times that.
	firstPause = 5 * time.Second
	// recheck is how often a port that is off is looked at: a switch that lost
	// its power may have forgotten it.
	recheck = 10 * time.Minute
)

// trial is the last time that the loop carried out an order.
type trial struct {
	key   string
	order order
	err   error
	tries int       // that failed
	next  time.Time // not again before
}

// ports carries out the orders that nobody waits for, first of all those that an
// earlier end of the server cut off, until ctx ends.
func (l *Lab) ports(ctx context.Context) error {
	var work sync.WaitGroup // it ends with ctx
	defer work.Wait()
	done := make(chan trial)
	running, last := map[string]bool{}, map[string]trial{}
	for {
		all, err := l.orders(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pause := recheck
		for key, o := range all {
			t, tried := last[key]
			if due := t.next.Sub(l.Now()); running[key] || tried && t.order.same(o) && due > 0 {
				if !running[key] {
					pause = min(pause, due)
				}
				continue
			}
			running[key] = true
			work.Go(func() {
				err := l.apply(ctx, portOf(key))
				select {
				case done <- trial{key: key, order: o, err: err, tries: t.tries}:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-l.port:
		case t := <-done:
			delete(running, t.key)
			if t.next = l.Now().Add(recheck); t.err == nil {
				t.tries = 0
			} else {
				if fault.As(t.err) == nil {
					l.Log.Error("power of a port", "port", t.key, "err", t.err)
				}
				t.next = l.Now().Add(firstPause << min(t.tries, 6))
				t.tries++
			}
			last[t.key] = t
		}
		for key := range last {
			if _, open := all[key]; !open && !running[key] {
				delete(last, key)
			}
		}
	}
}
