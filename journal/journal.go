// Package journal keeps what happened in the lab: events that are appended in
// the transaction of the change that they tell of, read as history or followed
// as they come, and the notices that a user must be shown. It decides nothing.
// Its one surprising rule: events are ordered by the clock of the transaction
// that wrote them, so one may appear a little before another that was
// committed earlier; Follow misses none of them but those that it counts.
package journal

import (
	"context"
	"fmt"
	"strconv"
	"sync"
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
	Power        Type = "power"        // a node was rebooted, its port was switched, or either failed
	Image        Type = "image"        // an image was made, replaced or removed: To is its full name
	User         Type = "user"         // a user or a key was added or removed
	State        Type = "state"        // a node came up or went down: From and To are states
	Visit        Type = "visit"        // somebody ran a command or opened a shell on a node of somebody else: From is the owner
	Reach        Type = "reach"        // somebody reached a port of a node over a connection of the own, or, from the addresses in From, by an exposed port: To is the port; or "files", by SFTP
	Sharing      Type = "sharing"      // what users tell each other of nodes, whose they stay
	Network      Type = "network"      // something is wrong on the network that boards and PCs are on
	Queue        Type = "queue"        // a user began to wait for nodes, or waits no more: To is who
	LoginRefused Type = "login-refused"
)

// Types lists the types that there are.
func Types() []Type {
	return []Type{Ownership, Boot, Registration, Download, Power, Image, User, State, Visit, Reach, Sharing, Network, Queue, LoginRefused}
}

// Event is one thing that happened.
type Event struct {
	Time   time.Time `json:"time"` // UTC
	Type   Type      `json:"type"`
	Actor  Actor     `json:"actor"`           // who caused it
	Node   string    `json:"node"`            // the device it is about, or "" when there is none, or several
	Nodes  []string  `json:"nodes,omitempty"` // the devices it is about when they are several
	From   string    `json:"from"`
	To     string    `json:"to"`
	Detail string    `json:"detail"`           // for people
	Count  int       `json:"count,omitempty"`  // how often it happened, when repeats became one event
	Step   string    `json:"step,omitempty"`   // that the boot of a node reached last which does not come up
	Lines  []string  `json:"lines,omitempty"`  // of the console of a node that could not boot, the last ones
	Reader string    `json:"reader,omitempty"` // the user whose console that was: it is for nobody else's eyes
}

// Actor is who makes a change: a user, by name, or the server by itself. Package
// auth knows the users.
type Actor string

// Server is the actor of what nobody asked for at that moment, as the end of a
// time that a user set. No user can have this name.
const Server Actor = "server"

// Words name the actor in a sentence.
func (a Actor) Words() string {
	if a == Server {
		return "the server"
	}
	return string(a)
}

var events = state.NewTable[Event]("event")

// Journal appends to and reads the events of one store.
type Journal struct {
	store state.Store
	now   func() time.Time
	count atomic.Uint32 // tells events of the same instant apart

	mu     sync.Mutex
	read   bool      // that latest was looked for in the store
	latest time.Time // stamp of the latest event

	refusals refusals
}

// New returns the journal of the store.
func New(store state.Store, now func() time.Time) *Journal {
	return &Journal{store: store, now: now, refusals: refusals{sources: map[string][]*refusal{}}}
}

// Record appends e within tx, stamped with the present time.
func (j *Journal) Record(tx state.Tx, e Event) (err error) {
	if e.Time, err = j.stamp(tx); err != nil {
		return err
	}
	key := j.key(e.Time)
	switch {
	case e.Type == State:
		key += stateMark
	case len(e.Nodes) > 0:
		key += fmt.Sprint(setMark, len(e.Nodes))
	}
	return events.Put(tx, key, e)
}

// Now is the present time, but after all events that there are: the clock may have been
// ahead when they happened.
func (j *Journal) Now(ctx context.Context) (time.Time, error) {
	return state.Read(ctx, j.store, func(r state.Reader) (time.Time, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.present(r)
	})
}

// stamp is the present time, but never before the latest event: a clock that was
// set back does not put what happens behind what happened.
func (j *Journal) stamp(r state.Reader) (time.Time, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now, err := j.present(r)
	if err == nil {
		j.latest = now
	}
	return now, err
}

// present is the time for an event that comes next. j.mu is held.
func (j *Journal) present(r state.Reader) (time.Time, error) {
	now := j.now().UTC()
	if !j.read {
		for e, err := range events.Scan(r, "", timeKey(now)) {
			if err != nil {
				return now, err
			}
			j.latest = e.Value.Time
		}
		j.read = true
	}
	if now.Before(j.latest) {
		now = j.latest.Add(1)
	}
	return now, nil
}

// Add appends e in a transaction of its own.
func (j *Journal) Add(ctx context.Context, e Event) error {
	_, err := j.store.Update(ctx, func(tx state.Tx) error { return j.Record(tx, e) })
	return err
}

// historyPage is how many events are read at once: whoever shows them may be
// slow, and neither a transaction nor much memory is held meanwhile. Of events that
// are about many devices it is fewer.
const (
	historyPage  = 200
	historyNodes = 20_000 // about so many devices are those of a page
)

// Mark is a place in the journal, before an event or where one could be.
type Mark struct {
	time time.Time
	key  string
}

// At is the place before all events of an instant and later ones.
func At(t time.Time) Mark { return Mark{t.UTC(), timeKey(t)} }

// Time is the instant of the place, UTC.
func (m Mark) Time() time.Time { return m.time }

// After reports whether m is a later place than another.
func (m Mark) After(other Mark) bool { return m.key > other.key }

// History shows the events from one place until another that are wanted, in order, a page
// of some at a time, until show fails; nil: all are.
func (j *Journal) History(ctx context.Context, from, until Mark, wanted Filter, show func(page []Event) error) error {
	return j.pages(ctx, from.key, until.key, wanted, func(page []state.Entry[Event]) error { return show(values(page)) })
}

func values(page []state.Entry[Event]) []Event {
	all := make([]Event, len(page))
	for i, e := range page {
		all[i] = e.Value
	}
	return all
}

// Each shows a page one by one.
func Each(show func(Event) error) func(page []Event) error {
	return func(page []Event) error {
		for _, e := range page {
			if err := show(e); err != nil {
				return err
			}
		}
		return nil
	}
}

// Last returns the place before the last n of the events between two places that
// are wanted: from when there are fewer. It reads no more events than it must.
func (j *Journal) Last(ctx context.Context, from, until Mark, n int, wanted Filter) (Mark, error) {
	keys, err := state.Read(ctx, j.store, func(r state.Reader) (keys []string, err error) {
		for key, err := range events.Keys(r, "", from.key) {
			if err != nil || key >= until.key {
				return keys, err
			}
			keys = append(keys, key)
		}
		return keys, nil
	})
	if err != nil {
		return from, err
	}
	for most := historyPage; len(keys) > 0; {
		first, devices := len(keys)-1, weight(keys[len(keys)-1])
		for first > 0 && len(keys)-first < most && devices+weight(keys[first-1]) < historyNodes {
			first--
			devices += weight(keys[first])
		}
		found, err := j.marks(ctx, keys[first], keys[len(keys)-1]+"\x00", wanted)
		if err != nil {
			return from, err
		}
		if len(found) >= n {
			return found[len(found)-n], nil
		}
		if n -= len(found); 2*len(found) < len(keys)-first { // few are wanted: look at more at once
			most *= 2
		}
		keys = keys[:first]
	}
	return from, nil
}

// marks returns the places of the events from start until before end that are wanted.
func (j *Journal) marks(ctx context.Context, start, end string, wanted Filter) (found []Mark, err error) {
	err = j.store.View(ctx, func(r state.Reader) error {
		look := func(key string, e *Event) bool {
			if _, ok := wanted(*e); ok && key < end {
				found = append(found, Mark{e.Time, key})
			}
			return key >= end
		}
		for e, err := range events.Select(r, "", start, look) {
			if err != nil || e.Key >= end {
				return err
			}
		}
		return nil
	})
	return found, err
}

// pages shows what is wanted of the events whose keys are from start until before end, in
// order; nil: all of it. A page is valid until show returns.
func (j *Journal) pages(ctx context.Context, start, end string, wanted Filter, show func([]state.Entry[Event]) error) error {
	var page []state.Entry[Event]
	for {
		var more bool
		var err error
		page, more, err = j.page(ctx, page[:0], start, end, wanted)
		if err == nil && len(page) > 0 {
			err = show(page)
		}
		if err != nil || !more {
			return err
		}
		start = page[len(page)-1].Key + "\x00"
	}
}

// page appends to one what is wanted of the events from start until before end, and
// returns whether there may be more.
func (j *Journal) page(ctx context.Context, page []state.Entry[Event], start, end string, wanted Filter) (_ []state.Entry[Event], more bool, err error) {
	var look func(key string, e *Event) bool
	if wanted != nil {
		look = func(key string, e *Event) bool {
			_, ok := wanted(*e)
			return ok || key >= end
		}
	}
	err = j.store.View(ctx, func(r state.Reader) error {
		devices := 0
		for e, err := range events.Select(r, "", start, look) {
			if err != nil {
				return err
			}
			if e.Key >= end {
				break
			}
			if wanted != nil {
				e.Value, _ = wanted(e.Value)
			}
			page, devices = append(page, e), devices+weight(e.Key)
			if more = len(page) == historyPage || devices >= historyNodes; more {
				break
			}
		}
		return nil
	})
	return page, more, err
}

func (j *Journal) key(t time.Time) string {
	key := append(appendTime(make([]byte, 0, 40), t), '-')
	return string(appendPadded(key, uint64(j.count.Add(1)), 16, 8))
}

// timeKey is t as a key that sorts by time, for any year that people type.
func timeKey(t time.Time) string { return string(appendTime(nil, t)) }

func appendTime(key []byte, t time.Time) []byte {
	key = appendPadded(key, uint64(max(0, t.Unix())), 10, 12)
	return appendPadded(key, uint64(t.Nanosecond()), 10, 9)
}

// appendPadded appends a number with so many digits, or more if it has them.
func appendPadded(b []byte, n uint64, base, digits int) []byte {
	var buffer [20]byte
	number := strconv.AppendUint(buffer[:0], n, base)
	for range digits - len(number) {
		b = append(b, '0')
	}
	return append(b, number...)
}
