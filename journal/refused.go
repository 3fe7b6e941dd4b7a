package journal

import (
	"context"
	"sync"
	"time"

	"walt/state"
)

const (
	foldFor     = time.Hour // how long repeats go into one event
	keepSources = 4096      // that repeats are recognised of
	eachSource  = 8         // different events of one source; more become one
	severalWhos = "several names"
	severalWhys = "different keys"
)

// refusals folds logins that are refused again and again into one event. It
// knows those of this run of the server.
type refusals struct {
	mu      sync.Mutex // also held while one is written: strangers wait for each other
	sources map[string][]*refusal
}

// refusal is an event of a login that was refused, and its repeats.
type refusal struct {
	key   string
	event Event
	first time.Time
}

// Refused records a login that was refused, in a transaction of its own.
// Repeats from one source within an hour become one event, which has a count
// and the time of the last of them; and so do all that one source tries beyond
// the first few.
func (j *Journal) Refused(ctx context.Context, source string, e Event) error {
	r := &j.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	folded := r.find(source, e, j.now())
	e = folded.event
	e.Count++
	var key string
	_, err := j.store.Update(ctx, func(tx state.Tx) (err error) {
		if e.Time, err = j.stamp(tx); err != nil {
			return err
		}
		_, found, err := events.Find(tx, folded.key)
		if found { // it may have been trimmed, and who counts rows counts deletions
			err = events.Delete(tx, folded.key)
		}
		if err != nil {
			return err
		}
		key = j.key(e.Time) + refusedMark
		return events.Put(tx, key, e)
	})
	if err != nil {
		return err
	}
	if folded.key == "" {
		r.sources[source] = append(r.sources[source], folded)
	}
	folded.key, folded.event = key, e
	return nil
}

// find returns what e is a repeat of, or something new.
func (r *refusals) find(source string, e Event, now time.Time) *refusal {
	all := r.recent(source, now)
	if len(all) == 0 {
		r.makeRoom()
	}
	r.sources[source] = all
	for range 2 {
		for _, f := range all {
			if f.event.From == e.From && f.event.To == e.To && f.event.Detail == e.Detail {
				return f
			}
		}
		if len(all) < eachSource {
			break
		}
		e.From, e.To, e.Detail = source, severalWhos, severalWhys
	}
	return &refusal{event: e, first: now}
}

// recent returns what the repeats of a source can be folded into.
func (r *refusals) recent(source string, now time.Time) (recent []*refusal) {
	for _, f := range r.sources[source] {
		if now.Sub(f.first) < foldFor {
			recent = append(recent, f)
		}
	}
	return recent
}

// makeRoom forgets any source when there are many, for one more.
func (r *refusals) makeRoom() {
	for source := range r.sources {
		if len(r.sources) < keepSources {
			return
		}
		delete(r.sources, source)
	}
}
