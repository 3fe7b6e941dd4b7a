package badger

import (
	"errors"
	"fmt"
	"testing"

	"walt/state"
)

// TestManyAbsentRows asks one transaction for many rows of which few are there: badger
// looks for few of them, and the answers are right, also of what the transaction itself
// writes, in the middle of an iteration, and of a table with more rows than are looked through.
func TestManyAbsentRows(t *testing.T) {
	t.Parallel()
	b, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	key := func(table string, i int) string { return fmt.Sprintf("%s/%06d", table, i) }
	fill := func(table string, n int) {
		t.Helper()
		_, err := b.Update(t.Context(), func(tx state.Tx) error {
			for i := range n {
				if err := tx.Put(key(table, 3*i), []byte(table)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill("few", 100)
	fill("fewer", 1)
	fill("many", present+1)
	const asked = 3 * (present + 1)
	look := func(r state.Tx, table string, i, rows int) error {
		value, err := r.Get(key(table, i))
		if there := i%3 == 0 && i < 3*rows; there && string(value) != table || !there && !errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("row %d of %s: %q, %v", i, table, value, err)
		}
		return nil
	}
	_, err = b.Update(t.Context(), func(r state.Tx) error {
		for range r.Keys("few/", "") {
			for i := range 1000 {
				if err := look(r, "few", i, 100); err != nil {
					return err
				}
			}
			break
		}
		if err := errors.Join(r.Put(key("few", 4999), []byte("own")), r.Delete(key("few", 0))); err != nil {
			return err
		}
		before := r.(*tx).absent.missed
		for i := range asked {
			for table, rows := range map[string]int{"fewer": 1, "empty": 0} {
				if err := look(r, table, i, rows); err != nil {
					return err
				}
			}
			if i == 0 || i == 4999 {
				continue
			}
			if err := look(r, "few", i, 100); err != nil {
				return err
			}
		}
		if looked := r.(*tx).absent.missed - before; looked > 4*missing {
			t.Errorf("badger looked for %d rows that are not there", looked)
		}
		if own, err := r.Get(key("few", 4999)); string(own) != "own" {
			t.Errorf("a row of its own: %q, %v", own, err)
		}
		if _, err := r.Get(key("few", 0)); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("a row that it deleted: %v", err)
		}
		for i := range 3 * missing {
			if err := look(r, "many", 3*i+1, present+1); err != nil {
				return err
			}
		}
		return look(r, "many", 3*present, present+1)
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAbsentRowConflicts has a row come that a transaction knows of by its table alone to
// be absent: it runs again, and finds it.
func TestAbsentRowConflicts(t *testing.T) {
	t.Parallel()
	b, err := OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	runs, found := 0, 0
	_, err = b.Update(t.Context(), func(r state.Tx) error {
		runs++
		found = 0
		for i := range 4 * missing {
			if _, err := r.Get(fmt.Sprintf("a/%d", i)); err == nil {
				found++
			}
		}
		if runs == 1 {
			if known := r.(*tx).absent.missed; known > 2*missing {
				t.Errorf("badger looked for %d rows", known)
			}
			_, err := b.Update(t.Context(), func(other state.Tx) error { return other.Put(fmt.Sprintf("a/%d", 4*missing-1), nil) })
			if err != nil {
				return err
			}
		}
		return r.Put("b/1", nil)
	})
	if err != nil || runs != 2 || found != 1 {
		t.Errorf("it ran %d times and found %d rows: %v", runs, found, err)
	}
}
