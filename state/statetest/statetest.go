// Package statetest is the contract of state.Store as a test suite, to be run
// against every implementation. It tests nothing that an interface of state
// does not promise.
package statetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"walt/state"
)

// Test runs the suite; open returns a new, empty store and sees to its end.
func Test(t *testing.T, open func(t *testing.T) state.Store) {
	for _, part := range []struct {
		name string
		test func(*testing.T, state.Store)
	}{
		{"read and write", readAndWrite},
		{"scan", scan},
		{"own writes", ownWrites},
		{"snapshot", snapshot},
		{"rollback", rollback},
		{"ended", ended},
		{"too big", tooBig},
		{"limit", limit},
		{"touch", touch},
		{"guards", guards},
		{"conflict", conflict},
		{"no conflict", noConflict},
		{"lost update", lostUpdate},
		{"transfers", transfers},
		{"watch", watch},
		{"versions", versions},
		{"watch changed", watchChanged},
		{"watch order", watchOrder},
		{"watch overflow", watchOverflow},
		{"watch rows", watchRows},
		{"watch own", watchOwn},
		{"watch large", watchLarge},
		{"watch close", watchClose},
		{"close", closing},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.test(t, open(t))
		})
	}
}

func readAndWrite(t *testing.T, s state.Store) {
	put(t, s, "a", "1", "b", "", "c", "3")
	want(t, s, "a", "1")
	want(t, s, "b", "")
	put(t, s, "a", "2")
	want(t, s, "a", "2")
	update(t, s, func(tx state.Tx) error {
		return errors.Join(tx.Delete("a"), tx.Delete("never there"))
	})
	want(t, s, "a", "")
	wantRows(t, s, "", "", "b= c=3")

	// The store keeps what was put, not the caller's memory.
	value := []byte("before")
	update(t, s, func(tx state.Tx) error {
		err := tx.Put("d", value)
		copy(value, "after!")
		return err
	})
	want(t, s, "d", "before")
}

func scan(t *testing.T, s state.Store) {
	put(t, s, "n/1", "a", "n/2", "b", "n/20", "c", "n/3", "d", "m/9", "e", "n0", "f", "n", "g")
	for _, c := range []struct{ prefix, start, rows string }{
		{"n/", "", "n/1=a n/2=b n/20=c n/3=d"},
		{"n/", "n/2", "n/2=b n/20=c n/3=d"},
		{"n/", "n/21", "n/3=d"},
		{"n/", "n/4", ""},
		{"n/", "m/9", "n/1=a n/2=b n/20=c n/3=d"},
		{"n/", "n0", ""},
		{"n/2", "", "n/2=b n/20=c"},
		{"n/2", "n/20", "n/20=c"},
		{"x", "", ""},
		{"", "", "m/9=e n=g n/1=a n/2=b n/20=c n/3=d n0=f"},
		{"", "n/3", "n/3=d n0=f"},
	} {
		wantRows(t, s, c.prefix, c.start, c.rows)
	}

	// A row outlives the step of the iteration that it came in, and an
	// iteration may be left early, or run within another.
	view(t, s, func(r state.Reader) error {
		var first state.Row
		for row := range r.Scan("n/", "") {
			if first.Key == "" {
				first = row
				continue
			}
			for range r.Keys("n/", "") {
				break
			}
			if row.Key == "n/20" {
				break
			}
		}
		if first.Key != "n/1" || string(first.Value) != "a" {
			t.Errorf("the first row became %s=%s", first.Key, first.Value)
		}
		return nil
	})
}

func ownWrites(t *testing.T, s state.Store) {
	put(t, s, "a", "1", "b", "2", "c", "3")
	update(t, s, func(tx state.Tx) error {
		for key, want := range map[string]string{"b": "2", "c": "3", "d": ""} {
			for range 2 {
				if v, err := tx.Get(key); string(v) != want || errors.Is(err, state.ErrNotFound) != (want == "") {
					t.Errorf("Get of %s before it is written: %q, %v", key, v, err)
				}
			}
		}
		if err := errors.Join(tx.Put("b", []byte("new")), tx.Delete("c"), tx.Put("d", []byte("4"))); err != nil {
			return err
		}
		if got := rows(t, tx, "", ""); got != "a=1 b=new d=4" {
			t.Errorf("within the transaction: %s", got)
		}
		if got := rows(t, tx, "", "c"); got != "d=4" {
			t.Errorf("within the transaction, from c: %s", got)
		}
		if v, err := tx.Get("b"); err != nil || string(v) != "new" {
			t.Errorf("Get of a row just written: %q, %v", v, err)
		}
		if v, err := tx.Get("c"); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("Get of a row just deleted: %q, %v", v, err)
		}
		if v, err := tx.Get("d"); err != nil || string(v) != "4" {
			t.Errorf("Get of a row that was not there before: %q, %v", v, err)
		}
		return tx.Put("a", []byte("last"))
	})
	wantRows(t, s, "", "", "a=last b=new d=4")

	// Writing does not disturb the iteration that it happens in.
	update(t, s, func(tx state.Tx) error {
		visited := ""
		for row, err := range tx.Scan("", "") {
			visited += row.Key
			if err := errors.Join(err, tx.Delete(row.Key), tx.Put(row.Key+"x", row.Value)); err != nil {
				return err
			}
		}
		if visited != "abd" {
			t.Errorf("visited %s while writing, want abd", visited)
		}
		return nil
	})
	wantRows(t, s, "", "", "ax=last bx=new dx=4")
}

func snapshot(t *testing.T, s state.Store) {
	put(t, s, "a", "1")
	view(t, s, func(r state.Reader) error {
		put(t, s, "a", "2", "b", "2")
		if got := rows(t, r, "", ""); got != "a=1" {
			t.Errorf("a later commit shows: %s", got)
		}
		return nil
	})
}

func rollback(t *testing.T, s state.Store) {
	put(t, s, "a", "1")
	spoil := func(tx state.Tx) error {
		return errors.Join(tx.Put("a", []byte("2")), tx.Put("b", []byte("2")))
	}

	failed := errors.New("failed")
	_, err := s.Update(t.Context(), func(tx state.Tx) error { return errors.Join(spoil(tx), failed) })
	if !errors.Is(err, failed) {
		t.Errorf("Update returned %v, not its closure's error", err)
	}
	wantRows(t, s, "", "", "a=1")

	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.Update(ctx, func(tx state.Tx) error {
		cancel()
		return spoil(tx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the commit: %v", err)
	}
	wantRows(t, s, "", "", "a=1")

	ran := func() { t.Error("the closure ran although its context had ended") }
	_, err = s.Update(ctx, func(state.Tx) error { ran(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update of an ended context: %v", err)
	}
	if err = s.View(ctx, func(state.Reader) error { ran(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View of an ended context: %v", err)
	}

	func() {
		defer func() { _ = recover() }()
		update(t, s, func(tx state.Tx) error { panic(spoil(tx)) })
	}()
	wantRows(t, s, "", "", "a=1")
	// It left nothing locked: others still find and resolve their conflicts.
	if n := interrupted(t, s, get("a"), func(tx state.Tx) error { return tx.Put("a", []byte("1")) }); n != 2 {
		t.Errorf("an update that was in conflict ran %d times, want 2", n)
	}
	update(t, s, func(tx state.Tx) error { return tx.Delete("written") })
	update(t, s, spoil)
	wantRows(t, s, "", "", "a=2 b=2")
}

// A transaction reads nothing any more when its context ended.
func ended(t *testing.T, s state.Store) {
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	reads := func(r state.Reader, cancel func()) error {
		for range 2 {
			if _, err := r.Get("a"); err != nil {
				t.Errorf("read before the end: %v", err)
			}
		}
		cancel()
		_, err := r.Get("a")
		_, missing := r.Get("c")
		for _, err := range []error{err, missing} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Get returned %v", err)
			}
		}
		for row, err := range r.Scan("", "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Scan visits %s, %v", row.Key, err)
			}
		}
		for key, err := range r.Keys("", "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Keys visits %s, %v", key, err)
			}
		}
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.View(ctx, func(r state.Reader) error { return reads(r, cancel) }); !errors.Is(err, context.Canceled) {
		t.Errorf("View returned %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if _, err := s.Update(ctx, func(tx state.Tx) error { return reads(tx, cancel) }); !errors.Is(err, context.Canceled) {
		t.Errorf("Update returned %v", err)
	}
}

var errUndo = errors.New("nothing of this")

func tooBig(t *testing.T, s state.Store) {
	value := []byte(strings.Repeat("secret", 1<<19)) // 3 MiB
	for _, overlook := range []bool{false, true} {
		_, err := s.Update(t.Context(), func(tx state.Tx) error {
			if err := tx.Put("a", []byte("1")); err != nil {
				return err
			}
			err := tx.Put("b", value)
			if err == nil {
				t.Error("3 MiB were put")
			}
			if overlook {
				return nil
			}
			return err
		})
		if !errors.Is(err, state.ErrTooBig) {
			t.Errorf("not ErrTooBig: %.200v", err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Error("the error shows the value")
		}
	}
	_, err := s.Update(t.Context(), func(tx state.Tx) error {
		if got := tx.Room(); got != s.Limit() {
			t.Errorf("before the first write there is room for %+v", got)
		}
		if err := errors.Join(tx.Put("ab", []byte("123")), tx.Touch("c"), tx.Touch("c"), tx.Delete("d")); err != nil {
			return err
		}
		want := s.Limit()
		want.Rows -= 3
		want.Bytes -= 7 + 3*state.RowBytes
		if got := tx.Room(); got != want {
			t.Errorf("after three writes there is room for %+v, not %+v", got, want)
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Errorf("Update returned %v", err)
	}
	_, err = s.Update(t.Context(), func(tx state.Tx) error {
		for i := range s.Limit().Bytes/50_000 + 1 {
			if err := tx.Put(strings.Repeat("k", i+1), value[:50_000]); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, state.ErrTooBig) {
		t.Errorf("50 kB too often, not ErrTooBig: %v", err)
	}
	wantRows(t, s, "", "", "")
}
