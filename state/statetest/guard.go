package statetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"walt/state"
)

// limit checks that what Limit allows passes, to the row and to the byte, and
// that one more fails and writes nothing.
func limit(t *testing.T, s state.Store) {
	most := s.Limit()
	rows := func(n int) func(state.Tx) error {
		return func(tx state.Tx) error {
			for i := range n {
				write := tx.Delete
				switch i % 3 {
				case 0:
					write = tx.Touch
				case 1:
					write = func(key string) error { return tx.Put(key, nil) }
				}
				if err := write(fmt.Sprintf("%d/%d", n, i)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	// bytes writes rows with keys of 4 bytes whose sum is n.
	bytes := func(n int) func(state.Tx) error {
		return func(tx state.Tx) error {
			const row = 4 + state.RowBytes
			for i := 0; n > 0; i++ {
				value := min(n-row, 50_000)
				if rest := n - row - value; rest > 0 && rest < row {
					value -= row
				}
				if err := tx.Put(fmt.Sprintf("b%03d", i), make([]byte, value)); err != nil {
					return err
				}
				n -= row + value
			}
			return nil
		}
	}
	value := func(n int) func(state.Tx) error {
		return func(tx state.Tx) error { return tx.Put("value", make([]byte, n)) }
	}
	for name, c := range map[string]struct {
		write func(int) func(state.Tx) error
		most  int
	}{"rows": {rows, most.Rows}, "bytes": {bytes, most.Bytes}, "value": {value, most.Value}} {
		update(t, s, c.write(c.most))
		update(t, s, func(tx state.Tx) error {
			for key, err := range tx.Keys("", "") {
				if err := errors.Join(err, tx.Delete(key)); err != nil {
					return err
				}
			}
			return nil
		})
		wantRows(t, s, "", "", "")
		for _, more := range []int{c.most + 1, c.most + 1000} {
			if _, err := s.Update(t.Context(), c.write(more)); !errors.Is(err, state.ErrTooBig) {
				t.Errorf("%d more than %d %s: %v", more-c.most, c.most, name, err)
			}
		}
		wantRows(t, s, "", "", "")
	}
}

// touch checks what guards are made of.
func touch(t *testing.T, s state.Store) {
	update(t, s, func(tx state.Tx) error {
		for range 2 * s.Limit().Rows {
			if err := tx.Touch("guard"); err != nil {
				return err
			}
		}
		return nil
	})
	wantRows(t, s, "", "", "guard=")
	get := func(tx state.Reader) error { _, err := tx.Get("guard"); return err }
	guard := func(tx state.Tx) error { return tx.Touch("guard") }
	if n := interrupted(t, s, get, guard); n != 2 {
		t.Errorf("who read what another touched ran %d times, want 2", n)
	}
	both := func(r state.Reader) error {
		err := errors.Join(guard(r.(state.Tx)), r.(state.Tx).Touch("new guard"))
		if _, err := r.Get("new guard"); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("who touched a key sees %v", err)
		}
		return errors.Join(err, get(r))
	}
	if n := interrupted(t, s, both, guard); n != 2 {
		t.Errorf("who touched and then read what another touched ran %d times, want 2", n)
	}
	update(t, s, func(tx state.Tx) error { return tx.Delete("new guard") })
	blind := func(r state.Reader) error { return guard(r.(state.Tx)) }
	if n := interrupted(t, s, blind, guard); n != 1 {
		t.Errorf("who touched what another touched ran %d times, want once", n)
	}
}

var (
	flat    = state.NewTable[string]("flat").Guarded(0)
	byUser  = state.NewTable[string]("by-user").Guarded(1)
	byPair  = state.NewTable[string]("by-pair").Guarded(2)
	without = state.NewTable[string]("without")
)

// guards checks that a scan of a guarded table in an Update conflicts with rows
// that appear or vanish under its prefix, and with no others.
func guards(t *testing.T, s state.Store) {
	scan := func(table state.Table[string], under string) func(state.Reader) error {
		return func(r state.Reader) error { _, err := table.All(r, under); return err }
	}
	keys := func(table state.Table[string], under string) func(state.Reader) error {
		return func(r state.Reader) error {
			for range table.Keys(r, under, "") {
				break
			}
			return nil
		}
	}
	add := func(table state.Table[string], key string) func(state.Tx) error {
		return func(tx state.Tx) error { return table.Put(tx, key, "new") }
	}
	remove := func(table state.Table[string], key string) func(state.Tx) error {
		return func(tx state.Tx) error { return table.Delete(tx, key) }
	}
	write := func(table state.Table[string], key string) func(state.Reader) error {
		return func(r state.Reader) error { return add(table, key)(r.(state.Tx)) }
	}
	writeAndScan := func(table state.Table[string], key string) func(state.Reader) error {
		return func(r state.Reader) error { return errors.Join(write(table, key)(r), scan(table, "")(r)) }
	}
	for i, c := range []struct {
		read  func(state.Reader) error
		other func(state.Tx) error
		runs  int
	}{
		{scan(flat, ""), add(flat, "x"), 2},
		{scan(flat, "a"), add(flat, "x"), 2}, // one guard covers all
		{keys(flat, ""), add(flat, "y"), 2},
		{scan(flat, ""), remove(flat, "y"), 2},
		{scan(flat, ""), add(byUser, "a/x"), 1},
		{scan(without, ""), add(without, "x"), 1}, // what a table without guards misses

		{scan(byUser, "alice/"), add(byUser, "alice/1"), 2},
		{scan(byUser, "alice/"), add(byUser, "bob/1"), 1},
		{scan(byUser, "alice/"), remove(byUser, "alice/1"), 2},
		{scan(byUser, "alice/p"), add(byUser, "alice/q"), 2}, // the guard of alice/
		{scan(byUser, "alice/p"), add(byUser, "bob/q"), 1},
		{scan(byUser, "alice/p/q"), add(byUser, "alice/r/s"), 2},
		{scan(byUser, ""), add(byUser, "bob/2"), 2},
		{keys(byUser, ""), add(byUser, "bob/3"), 2},
		{scan(byUser, "al"), add(byUser, "alice/2"), 2}, // that of the table
		{scan(byUser, "al"), add(byUser, "bob/4"), 2},
		{scan(byUser, ""), add(byUser, "whole"), 2}, // a key of fewer segments than the depth

		{scan(byPair, "a/b/"), add(byPair, "a/b/1"), 2},
		{scan(byPair, "a/b/"), add(byPair, "a/c/1"), 1},
		{scan(byPair, "a/"), add(byPair, "a/c/2"), 2},
		{scan(byPair, "a/"), add(byPair, "b/c/2"), 1},

		{writeAndScan(flat, "z"), add(flat, "a"), 2},
		{writeAndScan(byUser, "alice/3"), add(byUser, "alice/4"), 2},
		{write(byUser, "alice/5"), add(byUser, "alice/6"), 1}, // neither scans
		{write(byUser, "alice/7"), remove(byUser, "alice/8"), 1},
	} {
		if n := interrupted(t, s, c.read, c.other); n != c.runs {
			t.Errorf("case %d ran %d times, want %d", i, n, c.runs)
		}
	}

	// No table shows guards, and a transaction writes each once.
	update(t, s, func(tx state.Tx) error {
		for i := range s.Limit().Rows - 2 {
			if err := byUser.Put(tx, fmt.Sprintf("carol/%d", i), ""); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r state.Reader) error {
		var found []string
		for key, err := range flat.Keys(r, "", "") {
			if err != nil {
				return err
			}
			found = append(found, key)
		}
		if got := strings.Join(found, " "); got != "a x z" {
			t.Errorf("the table has the keys %q", got)
		}
		return nil
	})
}
