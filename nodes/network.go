package nodes

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"walt/journal"
)

const (
	// troublesAtOnce is how many are known at most: anybody on the network may make some.
	troublesAtOnce = 100
	// troubleAgain is after how long the log tells of the same trouble again.
	troubleAgain = time.Hour
)

// Trouble is something that is wrong on the network that boards and PCs are on.
type Trouble struct {
	Node Name   // the device that it is about, "" for none
	Text string // a sentence for people, without its dot
}

// troubles are those of this moment, each under a key.
type troubles struct {
	mu   sync.Mutex
	now  map[string]Trouble
	told map[string]time.Time // when the log told of a key
}

// Troubled notes that something is wrong on the network of boards and PCs, under a key of
// the caller's. The log tells of it once an hour at most, "device show" until Calmed.
func (l *Lab) Troubled(ctx context.Context, key string, t Trouble) {
	now := l.Now()
	s := &l.troubles
	s.mu.Lock()
	before, known := s.now[key]
	if !known && len(s.now) >= troublesAtOnce {
		s.mu.Unlock()
		return
	}
	s.now[key] = t
	maps.DeleteFunc(s.told, func(_ string, at time.Time) bool { return now.Sub(at) >= troubleAgain })
	_, lately := s.told[key]
	tell := (!lately || known && before != t) && len(s.told) < 2*troublesAtOnce
	if tell {
		s.told[key] = now
	}
	s.mu.Unlock()
	if before != t {
		l.tellTroubles()
	}
	if !tell {
		return
	}
	e := journal.Event{Type: journal.Network, Actor: journal.Server, Node: string(t.Node), Detail: t.Text}
	if err := l.Journal.Add(ctx, e); err != nil && ctx.Err() == nil {
		l.Log.Error("note what is wrong on the network", "what", t.Text, "err", err)
	}
}

// Calmed notes that what was wrong under a key is so no longer.
func (l *Lab) Calmed(key string) {
	s := &l.troubles
	s.mu.Lock()
	_, known := s.now[key]
	delete(s.now, key)
	s.mu.Unlock()
	if known {
		l.tellTroubles()
	}
}

// Troubles are what is wrong on the network of boards and PCs at this moment.
func (l *Lab) Troubles() (all []Trouble) {
	l.troubles.mu.Lock()
	defer l.troubles.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.troubles.now)) {
		all = append(all, l.troubles.now[key])
	}
	return all
}

func (l *Lab) tellTroubles() {
	if l.OnTroubles != nil {
		l.OnTroubles()
	}
}
