package nodes

import (
	"context"
	"slices"
	"time"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

// attendEvery is how often the clock is looked at while something is due: it may be set.
const attendEvery = time.Minute

// attend looks after those who wait until ctx ends: it gives them what came otherwise than by a
// change that serves them itself, has those pass whose patience is over, ends the wishes
// for which nobody waits any more, and tells where each stands. At rest it does nothing.
func (l *Lab) attend(ctx context.Context) error {
	absent := map[string]time.Time{} // since when nobody waits for a wish, by its waiter
	remade := 0                      // how often there had come to be other nodes, when that was looked at
	for ctx.Err() == nil {
		due, err := l.lookAfter(ctx, absent, &remade)
		if err != nil && ctx.Err() == nil {
			l.Log.Error("look after those who wait", "err", err)
			due = l.Now().Add(time.Second)
		}
		var late <-chan time.Time
		if !due.IsZero() {
			late = time.After(min(max(due.Sub(l.Now()), time.Millisecond), attendEvery))
		}
		select {
		case <-ctx.Done():
		case <-l.waiters.stirred:
		case <-late:
		}
	}
	return nil
}

// lookAfter has each wish have its turn, and returns when that is to be done next though
// nothing happens; the zero time: never.
func (l *Lab) lookAfter(ctx context.Context, absent map[string]time.Time, remade *int) (due time.Time, err error) {
	ws, err := state.Read(ctx, l.Store, func(r state.Reader) ([]Wish, error) { return wishes.All(r, "") })
	if err != nil {
		return due, err
	}
	now := l.Now()
	for token := range absent {
		if !slices.ContainsFunc(ws, func(w Wish) bool { return w.Waiter == token }) || l.waiters.here(token) {
			delete(absent, token)
		}
	}
	sooner := func(t time.Time) {
		if t.After(now) && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	for i := range ws {
		w := &ws[i]
		sooner(w.Since.Add(l.patience()))
		sooner(w.Remarks.End.At)
		if l.waiters.here(w.Waiter) {
			continue
		}
		if absent[w.Waiter].IsZero() {
			absent[w.Waiter] = now
		}
		if end := absent[w.Waiter].Add(keptFor); now.Before(end) {
			sooner(end)
		} else if err := l.end(ctx, w, fault.New(fault.InUse, "no longer waiting")); err != nil {
			return due, err
		}
	}
	if len(ws) == 0 {
		return due, nil
	}
	there, err := l.giveTurns(ctx)
	if err != nil {
		return due, err
	}
	others := l.view.pool.remakes()
	if others != *remade {
		if err := l.endHopeless(ctx); err != nil {
			return due, err
		}
	}
	if err := l.tellPlaces(ctx, there, others != *remade); err != nil {
		return due, err
	}
	*remade = others
	return due, nil
}

// end removes a wish, unless that came otherwise since, or its user waits again.
func (l *Lab) end(ctx context.Context, w *Wish, why error) error {
	_, err := l.commit(ctx, journal.Server, noConsent, func(c *change) error {
		now, here, err := wishes.Find(c.tx, w.key())
		if err != nil || !here || now.Waiter != w.Waiter {
			return err
		}
		return c.dropWish(&now, why)
	})
	return err
}

// giveTurns has each wish have its turn, in a transaction of its own, and returns how many
// nodes there are for those that go on waiting. One that fails, as its image cannot be
// looked at, ends with that.
func (l *Lab) giveTurns(ctx context.Context) (there map[int]int, err error) {
	var failing *Wish
	_, err = l.commit(ctx, journal.Server, noConsent, func(c *change) error {
		c.alone, failing = true, nil
		ws, err := wishes.All(c.tx, "")
		if err != nil || len(ws) == 0 {
			return err
		}
		t, err := c.turns(ctx, ws, true)
		failing = c.granting
		if err == nil {
			there = t.there
		}
		return err
	})
	if err != nil && failing != nil && ctx.Err() == nil {
		l.Log.Error("give nodes to who waits for them", "user", failing.User, "err", err)
		err = l.end(ctx, failing, err)
		l.waiters.stir()
	}
	return there, err
}
