package journal

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"walt/state"
)

// slack is how long after its stamp an event may be committed: that far back a
// reader looks for what is new.
const slack = 10 * time.Second

// Follow shows every event from one place on, and then each that is committed,
// however late, each once, until ctx ends or show fails; the end of ctx is no
// error.
func (j *Journal) Follow(ctx context.Context, from Mark, show func(Event) error) error {
	f := follower{newest: from.time, seen: map[string]bool{}}
	mark := func(e state.Entry[Event]) error { f.seen[e.Key] = true; return nil }
	if err := j.each(ctx, f.horizon(), from.key, mark); err != nil { // older, and there already
		return ignoreEnd(ctx, err)
	}
	w := j.store.Watch(events.Prefix(""))
	defer w.Close()
	catchUp := func(e state.Entry[Event]) error {
		if !f.markSeen(e) {
			return nil
		}
		return show(e.Value)
	}
	if err := j.each(ctx, f.horizon(), forever, catchUp); err != nil {
		return ignoreEnd(ctx, err)
	}
	for {
		batch, err := w.Next(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		fresh, err := f.fresh(ctx, j.store, batch)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for _, e := range fresh {
			if err := show(e); err != nil {
				return err
			}
		}
	}
}

// forever is behind the key of every event.
const forever = "~"

// follower tells new events from those that it had. The order of their keys is
// not that of their commits, so it remembers the latest by name.
type follower struct {
	newest time.Time       // stamp of the newest event that it had
	seen   map[string]bool // keys of those at most slack older, and some more
	pruned time.Time       // up to where the latest were the only ones
}

// fresh returns those of the events of a commit that are new; after an overflow,
// all that are new, in the order of their stamps.
func (f *follower) fresh(ctx context.Context, store state.Store, batch state.Batch) ([]Event, error) {
	found, err := state.Read(ctx, store, func(r state.Reader) ([]state.Entry[Event], error) { return f.read(r, batch) })
	if err != nil {
		return nil, err
	}
	var fresh []Event
	for _, e := range found {
		if f.markSeen(e) {
			fresh = append(fresh, e.Value)
		}
	}
	return fresh, nil
}

// markSeen remembers an event, and reports whether it is new.
func (f *follower) markSeen(e state.Entry[Event]) bool {
	if f.seen[e.Key] {
		return false
	}
	f.seen[e.Key] = true
	if e.Value.Time.After(f.newest) {
		f.newest = e.Value.Time
	}
	if f.newest.Sub(f.pruned) > slack {
		f.pruned = f.newest
		horizon := f.horizon()
		maps.DeleteFunc(f.seen, func(key string, _ bool) bool { return key < horizon })
	}
	return true
}

func (f *follower) horizon() string { return timeKey(f.newest.Add(-slack)) }

func (f *follower) read(r state.Reader, batch state.Batch) (found []state.Entry[Event], err error) {
	if batch.Overflow {
		for e, err := range events.Scan(r, "", f.horizon()) {
			if err != nil {
				return nil, err
			}
			found = append(found, e)
		}
		return found, nil
	}
	for _, key := range batch.Keys {
		key = strings.TrimPrefix(key, events.Prefix(""))
		e, here, err := events.Find(r, key)
		if err != nil {
			return nil, err
		}
		if here { // else it was trimmed
			found = append(found, state.Entry[Event]{Key: key, Value: e})
		}
	}
	return found, nil
}

// ignoreEnd returns the error of a reader that waits for news, but nil when there
// will be none: ctx ended, or the store was closed.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, state.ErrClosed) {
		return nil
	}
	return err
}
