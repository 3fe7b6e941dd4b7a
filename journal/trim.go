package journal

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"walt/state"
)

const (
	keepEvents  = 100_000 // that the journal holds; one about several devices counts as so many
	keepStates  = 100_000 // of nodes that came up or went down, which it holds besides
	keepRefused = 10_000  // logins that were refused, which it holds besides

	trimStep  = 100  // events beyond that before the oldest are deleted, and rows that one transaction deletes
	trimPage  = 1000 // keys that one transaction looks at
	trimPause = 10 * time.Millisecond
	lookAgain = time.Hour // how often all events are counted anew
)

// refusedMark ends the key of a login that was refused: strangers make those,
// and must not push out what happened in the lab. stateMark ends that of a node
// that came up or went down: at each start of the server many of them do. setMark
// stands before how many devices an event is about that is about several: it
// counts as so many events.
const (
	refusedMark = "r"
	stateMark   = "s"
	setMark     = "x"
)

// kind is what events push out their like of.
type kind int

const (
	ordinary kind = iota
	ofState
	ofRefusal
	kinds
)

func kindOf(key string) kind {
	switch {
	case strings.HasSuffix(key, refusedMark):
		return ofRefusal
	case strings.HasSuffix(key, stateMark):
		return ofState
	}
	return ordinary
}

// weight is how many events an event counts as.
func weight(key string) int {
	_, devices, several := strings.Cut(key, setMark)
	if !several {
		return 1 // most are: an error of Atoi would be garbage of each
	}
	if n, err := strconv.Atoi(devices); err == nil {
		return n
	}
	return 1
}

// Run keeps the journal bounded until ctx ends: as it grows, a little at a time.
func (j *Journal) Run(ctx context.Context, log *slog.Logger) error {
	t := &trimmer{journal: j, keep: [kinds]int{keepEvents, keepStates, keepRefused}}
	for {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			log.Error("trim the journal", "err", err)
			if !rest(ctx, lookAgain) {
				return nil
			}
		}
	}
}

// trimmer knows how many events of each kind there are: it counts them once, and then
// follows the store.
type trimmer struct {
	journal *Journal
	keep    [kinds]int
	held    [kinds]int
	own     [kinds]int    // of those that it deleted, how many the watch did not tell yet
	from    [kinds]string // no event of the kind has a smaller key
	oldest  [kinds]int    // weight of the oldest, if it was too heavy to be deleted
}

// follow trims whenever there is something to trim, until it is time to count again.
func (t *trimmer) follow(ctx context.Context) error {
	w := t.journal.store.Watch(events.Prefix(""))
	defer w.Close()
	// What is stamped later is told by the watch, or too little to matter.
	if err := t.count(ctx, At(t.journal.now().Add(1))); err != nil {
		return err
	}
	again := time.NewTimer(lookAgain)
	defer again.Stop()
	known := true // how many there are; else it trims what is too much of what it knew
	for {
		more, err := t.step(ctx)
		if err == nil && known {
			known, err = t.take(w)
		}
		switch {
		case err != nil:
			return err
		case more: // in small steps: others write, too
		case !known:
			return nil
		default:
			select {
			case <-ctx.Done():
			case <-again.C:
				return nil
			case <-w.Changed(): // and what else comes at the same time
			}
		}
		if !rest(ctx, trimPause) {
			return ctx.Err()
		}
	}
}

// step deletes some of the oldest of a kind of which there are too many, or goes on
// looking for them, and reports whether there is such a kind.
func (t *trimmer) step(ctx context.Context) (more bool, err error) {
	for k := range kinds {
		if t.held[k] >= t.keep[k]+max(trimStep, t.oldest[k]) {
			return true, t.drop(ctx, k, trimStep)
		}
	}
	return false, nil
}

// rest reports whether ctx did not end within d.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// count counts the events before a place, a page at a time.
func (t *trimmer) count(ctx context.Context, until Mark) error {
	t.held, t.own, t.from, t.oldest = [kinds]int{}, [kinds]int{}, [kinds]string{}, [kinds]int{}
	for start, more := "", true; more; {
		page, err := state.Read(ctx, t.journal.store, func(r state.Reader) ([]string, error) { return keys(r, start, until.key) })
		if err != nil {
			return err
		}
		for _, key := range page {
			t.held[kindOf(key)] += weight(key)
			start = key + "\x00"
		}
		more = len(page) == trimPage
	}
	return nil
}

// keys returns the keys of a page of events between two.
func keys(r state.Reader, from, until string) (page []string, err error) {
	for key, err := range events.Keys(r, "", from) {
		if err != nil {
			return nil, err
		}
		if key >= until || len(page) == trimPage {
			break
		}
		page = append(page, key)
	}
	return page, nil
}

// take counts what was committed since. It is not known when that was too much to
// follow, or the watch was closed.
func (t *trimmer) take(w *state.Watch) (known bool, err error) {
	for {
		b, ok, err := w.Take()
		switch {
		case err != nil || !ok:
			return err == nil, err
		case b.Overflow:
			return false, nil
		}
		for _, row := range b.Rows {
			switch k, n := kindOf(row.Key), weight(row.Key); {
			case row.Value != nil:
				t.held[k] += n
			case t.own[k] > 0:
				t.own[k] -= n
			default:
				t.held[k] -= n
			}
		}
	}
}

// drop deletes the oldest n of a kind, or those of them that a page of events holds,
// and none without which fewer are left than are kept.
func (t *trimmer) drop(ctx context.Context, k kind, n int) error {
	var dropped, heavy int
	var next string
	_, err := t.journal.store.Update(ctx, func(tx state.Tx) error {
		dropped, heavy, next = 0, 0, t.from[k]
		var old []string
		looked := 0
		for key, err := range events.Keys(tx, "", t.from[k]) {
			if err != nil {
				return err
			}
			if looked++; dropped >= n || looked > trimPage {
				break
			}
			if kindOf(key) == k {
				if heavy = weight(key); t.held[k]-dropped-heavy < t.keep[k] {
					break
				}
				old, dropped, heavy = append(old, key), dropped+heavy, 0
			}
			next = key + "\x00"
		}
		if looked == 0 {
			return errors.New("there are fewer events than were counted")
		}
		for _, key := range old {
			if err := events.Delete(tx, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		t.from[k], t.held[k], t.own[k], t.oldest[k] = next, t.held[k]-dropped, t.own[k]+dropped, heavy
	}
	return err
}
