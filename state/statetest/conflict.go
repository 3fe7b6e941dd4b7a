package statetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"walt/state"
)

// conflict checks that a transaction runs again when a row that it read is
// changed before it commits.
func conflict(t *testing.T, s state.Store) {
	scan := func(r state.Reader) error { rows(t, r, "n/", ""); return nil }
	keys := func(r state.Reader) error {
		for range r.Keys("n/", "n/1") {
		}
		return nil
	}
	change := func(tx state.Tx) error { return tx.Put("n/2", []byte("changed")) }
	remove := func(tx state.Tx) error { return tx.Delete("n/2") }
	create := func(tx state.Tx) error { return tx.Put("n/4", []byte("new")) }
	for name, c := range map[string]struct {
		read  func(state.Reader) error
		other func(state.Tx) error
	}{
		"Get, changed":      {get("n/2"), change},
		"Get, deleted":      {get("n/2"), remove},
		"Get, created":      {get("n/4"), create},
		"Scan, changed":     {scan, change},
		"Scan, deleted":     {scan, remove},
		"Keys, changed":     {keys, change},
		"Keys, deleted":     {keys, remove},
		"Get, then changed": {get("n/2"), func(tx state.Tx) error { return errors.Join(get("n/2")(tx), change(tx)) }},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, s, "n/1", "1", "n/2", "2", "n/3", "3")
			update(t, s, func(tx state.Tx) error { return tx.Delete("n/4") })
			if n := interrupted(t, s, c.read, c.other); n != 2 {
				t.Errorf("ran %d times, want 2", n)
			}
		})
	}
}

// get returns a function that reads a row, which may not be there.
func get(key string) func(state.Reader) error {
	return func(r state.Reader) error {
		_, err := r.Get(key)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		return err
	}
}

// noConflict checks that transactions that do not read what others write pass
// each other.
func noConflict(t *testing.T, s state.Store) {
	put(t, s, "a", "1", "b", "1")
	for name, c := range map[string]struct {
		read  func(state.Reader) error
		other func(state.Tx) error
	}{
		"another row": {
			func(r state.Reader) error { _, err := r.Get("a"); return err },
			func(tx state.Tx) error { return tx.Put("b", []byte("2")) },
		},
		"both write, none reads": {
			func(state.Reader) error { return nil },
			func(tx state.Tx) error { return tx.Put("written", []byte("by the other")) },
		},
		"read by the other": {
			func(r state.Reader) error { _, err := r.Get("a"); return err },
			func(tx state.Tx) error { _, err := tx.Get("a"); return errors.Join(err, tx.Put("c", nil)) },
		},
	} {
		if n := interrupted(t, s, c.read, c.other); n != 1 {
			t.Errorf("%s: ran %d times, want once", name, n)
		}
	}
	want(t, s, "written", "last")
}

// interrupted runs an update that reads and then writes a row; before that
// write in its first run, other commits. It returns how often the update ran.
func interrupted(t *testing.T, s state.Store, read func(state.Reader) error, other func(state.Tx) error) (runs int) {
	t.Helper()
	update(t, s, func(tx state.Tx) error {
		runs++
		if err := read(tx); err != nil {
			return err
		}
		if runs == 1 {
			update(t, s, other)
		}
		return tx.Put("written", []byte("last"))
	})
	return runs
}

// lostUpdate has many writers count up one row.
func lostUpdate(t *testing.T, s state.Store) {
	const writers, rounds = 16, 20
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range rounds {
				_, err := s.Update(t.Context(), func(tx state.Tx) error {
					n, err := number(tx, "count")
					return errors.Join(err, tx.Put("count", []byte(strconv.Itoa(n+1))))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want(t, s, "count", strconv.Itoa(writers*rounds))
}

// transfers has writers move units between accounts while readers add all of
// them up. An account may not be overdrawn, which is decided on the sum of a
// pair of accounts while only one of them is written: what a store that allows
// write skew gets wrong.
func transfers(t *testing.T, s state.Store) {
	const pairs, start = 3, 10
	for i := range pairs {
		put(t, s, fmt.Sprintf("pair/%d/a", i), strconv.Itoa(start), fmt.Sprintf("pair/%d/b", i), strconv.Itoa(start))
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for w := range 8 {
		writers.Go(func() {
			for i := range 20 {
				prefix := fmt.Sprintf("pair/%d/", (w+i)%pairs)
				own := prefix + string("ab"[w%2])
				_, err := s.Update(t.Context(), func(tx state.Tx) error {
					a, errA := number(tx, prefix+"a")
					b, errB := number(tx, prefix+"b")
					mine, errC := number(tx, own)
					if err := errors.Join(errA, errB, errC); err != nil || a+b < 3 {
						return err
					}
					return tx.Put(own, []byte(strconv.Itoa(mine-3)))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	check := func(r state.Reader) error {
		for i := range pairs {
			a, errA := number(r, fmt.Sprintf("pair/%d/a", i))
			b, errB := number(r, fmt.Sprintf("pair/%d/b", i))
			if err := errors.Join(errA, errB); err != nil {
				return err
			}
			if a+b < 0 {
				return fmt.Errorf("pair %d is overdrawn: %d and %d", i, a, b)
			}
		}
		return nil
	}
	readers.Go(func() {
		for {
			if err := s.View(t.Context(), check); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	view(t, s, check)
}
