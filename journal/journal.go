// Package journal keeps what happened in the lab: events that are appended in
// the transaction of the change that they tell of, read as history or followed
// as they come, and the notices that a user must be shown. It decides nothing.
// Its one surprising rule: events are ordered by the clock of the transaction
// that wrote them, so one may appear a little before another that was
// committed earlier; Follow misses none of them.
package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"walt/state"
)

// Type says what an event tells of.
type Type string

const (
	Ownership    Type = "ownership"    // a node changed hands: From and To are owners, "" is free
	Boot         Type = "boot"         // a node was told to boot another image of the same owner: From and To are images
	Registration Type = "registration" // a device came, went, or changed its name or type
	Download     Type = "download"     // of a default image: begun, failed, done
	Power        Type = "power"        // a node was rebooted, or failed to
	Image        Type = "image"        // an image was made, replaced or removed: To is its full name
	User         Type = "user"         // a user or a key was added or removed
	LoginRefused Type = "login-refused"
)

// Event is one thing that happened.
type Event struct {
	Time   time.Time `json:"time"` // UTC
	Type   Type      `json:"type"`
	Actor  string    `json:"actor"` // the user who caused it, or "server"
	Node   string    `json:"node"`  // the device it is about, or ""
	From   string    `json:"from"`
	To     string    `json:"to"`
	Detail string    `json:"detail"` // for people
}

// Server is the actor of what the server does by itself.
const Server = "server"

var events = state.NewTable[Event]("event")

// Journal appends to and reads the events of one store.
type Journal struct {
	store state.Store
	now   func() time.Time
	count atomic.Uint32 // tells events of the same instant apart
}

// New returns the journal of the store.
func New(store state.Store, now func() time.Time) *Journal {
	return &Journal{store: store, now: now}
}

// Record appends e within tx, stamped with the present time.
func (j *Journal) Record(tx state.Tx, e Event) error {
	e.Time = j.now().UTC()
	return events.Put(tx, j.key(e.Time), e)
}

// Add appends e in a transaction of its own.
func (j *Journal) Add(ctx context.Context, e Event) error {
	return j.store.Update(ctx, func(tx state.Tx) error { return j.Record(tx, e) })
}

// History shows the events from one instant until before another, in order,
// until show fails.
func (j *Journal) History(ctx context.Context, from, until time.Time, show func(Event) error) error {
	return j.store.View(ctx, func(r state.Reader) error {
		for e, err := range j.between(r, from, until) {
			if err == nil {
				err = show(e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (j *Journal) between(r state.Reader, from, until time.Time) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		end := instant(until)
		for e, err := range events.Scan(r, "", instant(from)) {
			if err == nil && e.Key >= end {
				return
			}
			if !yield(e.Value, err) || err != nil {
				return
			}
		}
	}
}

// Follow shows every event that is committed after its call until ctx ends or
// show fails; the end of ctx is no error.
func (j *Journal) Follow(ctx context.Context, show func(Event) error) error {
	since := j.now()
	w := j.store.Watch(events.Prefix(""))
	defer w.Close()
	for {
		keys, err := w.Next(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		var fresh []Event
		err = j.store.View(ctx, func(r state.Reader) error {
			fresh = fresh[:0]
			if keys == nil { // too far behind: show the rest from where we were, some perhaps twice
				for e, err := range j.between(r, since, j.now().Add(time.Hour)) {
					if err != nil {
						return err
					}
					fresh = append(fresh, e)
				}
				return nil
			}
			for _, key := range keys {
				e, err := events.Get(r, key[len(events.Prefix("")):])
				if errors.Is(err, state.ErrNotFound) {
					continue // trimmed
				}
				if err != nil {
					return err
				}
				fresh = append(fresh, e)
			}
			return nil
		})
		if err != nil {
			return ended(ctx, err)
		}
		for _, e := range fresh {
			if err := show(e); err != nil {
				return err
			}
			since = e.Time
		}
	}
}

// trimStep is how many rows one transaction of Trim deletes.
const trimStep = 100

// Trim deletes the oldest events beyond the newest keep.
func (j *Journal) Trim(ctx context.Context, keep int) error {
	var keys []string
	err := j.store.View(ctx, func(r state.Reader) error {
		for key, err := range events.Keys(r, "") {
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for excess := keys[:max(0, len(keys)-keep)]; len(excess) > 0; {
		step := excess[:min(trimStep, len(excess))]
		excess = excess[len(step):]
		err := j.store.Update(ctx, func(tx state.Tx) error {
			for _, key := range step {
				if err := events.Delete(tx, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) key(t time.Time) string {
	return fmt.Sprintf("%s-%08x", instant(t), j.count.Add(1))
}

// instant is t as a key that sorts by time.
func instant(t time.Time) string { return fmt.Sprintf("%020d", max(0, t.UnixNano())) }

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, state.ErrClosed) {
		return nil
	}
	return err
}
