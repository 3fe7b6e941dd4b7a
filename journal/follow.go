package journal

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"walt/state"
)

// slack is how long after its stamp an event may be committed: that far back a
// reader looks for what is new.
const slack = 10 * time.Second

// Reader is who follows the journal.
type Reader struct {
	Wanted Filter
	// Show shows the next of the wanted events, until it fails. missed is how many
	// were left out before them; there may be none then.
	Show func(page []Event, missed int) error
	// Patience is how long Show may take while more comes than a state.Watch holds:
	// one that takes longer does not keep up, and events are left out for it. 0:
	// none are.
	Patience time.Duration
}

// Follow shows every event from one place on, and then each that is committed,
// however late, each once, until ctx ends or the reader fails; the end of ctx is no
// error.
func (j *Journal) Follow(ctx context.Context, from Mark, r Reader) error {
	f := follower{Reader: r, journal: j, newest: from.time, seen: map[string]bool{}}
	return ignoreEnd(ctx, f.follow(ctx, from))
}

// forever is behind the key of every event.
const forever = "~"

// follower tells new events from those that it had. The order of their keys is
// not that of their commits, so it remembers the latest by name.
type follower struct {
	Reader
	journal *Journal
	newest  time.Time       // stamp of the newest event that it had
	seen    map[string]bool // keys of those at most slack older, and some more
	pruned  time.Time       // up to where the latest were the only ones
	slow    bool            // the reader took too long for the last page
}

func (f *follower) follow(ctx context.Context, from Mark) error {
	settled := At(f.journal.now().Add(-slack)) // what is before that comes no more
	old := settled.After(from)
	if !old {
		mark := func(page []state.Entry[Event]) error { f.fresh(page); return nil }
		if err := f.journal.pages(ctx, f.horizon(), from.key, nil, mark); err != nil { // older, and there already
			return err
		}
	}
	w := f.journal.store.Watch(events.Prefix(""))
	defer w.Close()
	if old {
		show := func(page []state.Entry[Event]) error { return f.show(values(page), 0) }
		if err := f.journal.pages(ctx, from.key, settled.key, f.Wanted, show); err != nil {
			return err
		}
		f.newest = settled.time.Add(slack)
	}
	past := func(page []state.Entry[Event]) error { return f.show(f.fresh(page), 0) }
	if err := f.journal.pages(ctx, f.horizon(), forever, nil, past); err != nil {
		return err
	}
	for {
		batch, err := w.Next(ctx)
		switch {
		case err != nil:
		case batch.Overflow:
			err = f.catchUp(ctx)
		default:
			err = f.showChanged(batch)
		}
		if err != nil {
			return err
		}
	}
}

// showChanged shows what is new of a commit.
func (f *follower) showChanged(batch state.Batch) error {
	changes, err := events.Changes(batch)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(changes, historyPage) {
		var page []state.Entry[Event]
		for _, c := range some {
			if c.Row != nil { // else it was trimmed
				page = append(page, state.Entry[Event]{Key: c.Key, Value: *c.Row})
			}
		}
		if err := f.show(f.fresh(page), 0); err != nil {
			return err
		}
	}
	return nil
}

// catchUp shows all that is new, in the order of its stamps, or counts it if the
// reader is too slow.
func (f *follower) catchUp(ctx context.Context) error {
	missed := 0
	err := f.journal.pages(ctx, f.horizon(), forever, nil, func(page []state.Entry[Event]) error {
		fresh := f.fresh(page)
		if f.slow {
			missed += len(fresh)
			return nil
		}
		return f.show(fresh, 0)
	})
	if err == nil {
		err = f.show(nil, missed)
	}
	return err
}

// show shows what there is to show.
func (f *follower) show(page []Event, missed int) error {
	if len(page) == 0 && missed == 0 {
		return nil
	}
	begun := time.Now()
	err := f.Show(page, missed)
	f.slow = f.Patience > 0 && time.Since(begun) > f.Patience
	return err
}

// fresh returns those of the events that are new and wanted.
func (f *follower) fresh(page []state.Entry[Event]) (fresh []Event) {
	for _, e := range page {
		if !f.markSeen(e) {
			continue
		}
		if some, ok := f.Wanted(e.Value); ok {
			fresh = append(fresh, some)
		}
	}
	return fresh
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

// ignoreEnd returns the error of a reader that waits for news, but nil when there
// will be none: ctx ended, or the store was closed.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, state.ErrClosed) {
		return nil
	}
	return err
}
