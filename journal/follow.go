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

// Follow shows every event that is committed after its call, each once, until
// ctx ends or show fails; the end of ctx is no error.
func (j *Journal) Follow(ctx context.Context, show func(Event) error) error {
	f := follower{newest: j.now().UTC(), seen: map[string]bool{}}
	if _, err := f.fresh(ctx, j.store, nil); err != nil { // is there already
		return ended(ctx, err)
	}
	w := j.store.Watch(events.Prefix(""))
	defer w.Close()
	var keys []string // none at first: what came before the watch
	for {
		fresh, err := f.fresh(ctx, j.store, keys)
		if err != nil {
			return ended(ctx, err)
		}
		for _, e := range fresh {
			if err := show(e); err != nil {
				return err
			}
		}
		if keys, err = w.Next(ctx); err != nil {
			return ended(ctx, err)
		}
	}
}

// follower tells new events from those that it had. The order of their keys is
// not that of their commits, so it remembers the latest by name.
type follower struct {
	newest time.Time       // stamp of the newest event that it had
	seen   map[string]bool // keys of those at most slack older
}

// fresh returns those of the events with the changed keys that are new, in the
// order of their commits; without keys, all that are new, in the order of their
// stamps.
func (f *follower) fresh(ctx context.Context, store state.Store, keys []string) ([]Event, error) {
	var found []state.Entry[Event]
	err := store.View(ctx, func(r state.Reader) (err error) {
		found, err = f.find(r, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	var fresh []Event
	for _, e := range found {
		if f.seen[e.Key] {
			continue
		}
		f.seen[e.Key] = true
		fresh = append(fresh, e.Value)
		if e.Value.Time.After(f.newest) {
			f.newest = e.Value.Time
		}
	}
	horizon := f.horizon()
	maps.DeleteFunc(f.seen, func(key string, _ bool) bool { return key < horizon })
	return fresh, nil
}

func (f *follower) horizon() string { return instant(f.newest.Add(-slack)) }

func (f *follower) find(r state.Reader, keys []string) (found []state.Entry[Event], err error) {
	if keys == nil {
		for e, err := range events.Scan(r, "", f.horizon()) {
			if err != nil {
				return nil, err
			}
			found = append(found, e)
		}
		return found, nil
	}
	for _, key := range keys {
		key = strings.TrimPrefix(key, events.Prefix(""))
		e, err := events.Get(r, key)
		if errors.Is(err, state.ErrNotFound) {
			continue // trimmed
		}
		if err != nil {
			return nil, err
		}
		found = append(found, state.Entry[Event]{Key: key, Value: e})
	}
	return found, nil
}

// ended is the error of a reader that waits for news: that there will be none
// any more is no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, state.ErrClosed) {
		return nil
	}
	return err
}
