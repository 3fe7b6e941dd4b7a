package nodes

import (
	"context"
	"errors"
	"time"

	"walt/state"
)

// used is when somebody last used a node, by its name: only of nodes that hang
// on a switch, since nobody else asks.
var used = state.NewTable[time.Time]("used")

// touch notes within tx that a node is used now.
func (l *Lab) touch(tx state.Tx, d Device) error {
	if d.Port.Switch == "" {
		return nil
	}
	return used.Put(tx, string(d.Name), l.Now().UTC())
}

// idleSince is the clock of power saving: since when a free node is free and
// unused, as far as the store knows.
func idleSince(r state.Reader, d Device) (time.Time, error) {
	last, err := used.Get(r, string(d.Name))
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return last, err
	}
	if last.Before(d.Since) {
		last = d.Since
	}
	return last, nil
}

// SetIdle changes how long a node is free and unused before its port is
// switched off; 0 is for ever.
func (l *Lab) SetIdle(d time.Duration) {
	l.idle.Store(int64(d))
	l.kickSaver()
}

func (l *Lab) kickSaver() {
	select {
	case l.save <- struct{}{}:
	default:
	}
}

// saver switches the ports of idle nodes off until ctx ends. What makes a node
// idle later than now cannot make it due before the pause is over; what makes it
// due earlier kicks.
func (l *Lab) saver(ctx context.Context) error {
	for {
		pause, err := l.save1(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			l.Log.Error("save power", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-l.save:
		}
	}
}

// sweep is how many ports one transaction switches off at most.
const sweep = 30

// save1 orders in one transaction that ports of idle nodes are switched off, and
// returns when to look again.
func (l *Lab) save1(ctx context.Context) (pause time.Duration, err error) {
	idle := time.Duration(l.idle.Load())
	if idle <= 0 {
		return time.Hour, nil
	}
	ordered := 0
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		pause, ordered = idle, 0
		idlers, err := l.idlers(tx)
		if err != nil {
			return err
		}
		now := l.Now().UTC()
		for p, who := range idlers {
			if due := who.since.Add(idle).Sub(now); due > 0 {
				pause = min(pause, due)
				continue
			}
			if ordered == sweep {
				pause = 0
				break
			}
			ordered++
			if err := orders.Put(tx, p.key(), order{Will: turnOff, Node: who.node, Since: now}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return time.Minute, err
	}
	if ordered > 0 {
		l.kickPorts()
	}
	return pause, nil
}

// idler is what hangs on a port that may be switched off.
type idler struct {
	node  Name
	since time.Time
}

// idlers returns the ports that have power and power a free node which nobody
// is visiting.
func (l *Lab) idlers(tx state.Tx) (map[Port]idler, error) {
	all, err := everything(tx)
	if err != nil {
		return nil, err
	}
	found := map[Port]idler{}
	for _, d := range all {
		if d.Port.Switch == "" || !d.Free() || l.visitors.Any(string(d.Name)) {
			continue
		}
		if controlled, err := control(tx, d); err != nil {
			return nil, err
		} else if !controlled {
			continue
		}
		switch _, err := orders.Get(tx, d.Port.key()); {
		case err == nil:
			continue
		case !errors.Is(err, state.ErrNotFound):
			return nil, err
		}
		since, err := idleSince(tx, d)
		if err != nil {
			return nil, err
		}
		found[d.Port] = idler{d.Name, since}
	}
	return found, nil
}

// cutOff reports whether the port that a node is believed to hang on is off.
func cutOff(r state.Reader, d Device) (bool, error) {
	if d.Port.Switch == "" {
		return false, nil
	}
	o, err := orders.Get(r, d.Port.key())
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	return o.Will == turnOff, err
}
