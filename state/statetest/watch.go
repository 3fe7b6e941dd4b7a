package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"walt/state"
)

func watch(t *testing.T, s state.Store) {
	put(t, s, "n/0", "before the watch")
	w := s.Watch("n/")
	defer w.Close()
	both := s.Watch("m/", "x")
	defer both.Close()
	put(t, s, "m/1", "", "n", "")
	put(t, s, "n/1", "1")
	put(t, s, "n/2", "2", "x", "", "n/3", "3")
	update(t, s, func(tx state.Tx) error { return tx.Delete("n/1") })
	_, _ = s.Update(t.Context(), func(tx state.Tx) error { return errors.Join(tx.Put("n/4", nil), errors.New("failed")) })
	put(t, s, "n/5", "5")

	got := next(t, w, 5)
	slices.Sort(got[1:3]) // of one commit
	if want := "n/1 n/2 n/3 n/1 n/5"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if got := next(t, both, 2); strings.Join(got, " ") != "m/1 x" {
		t.Errorf("under one of two prefixes: got %v, want m/1 x", got)
	}

	// Who waits is woken, and finds what was committed.
	go func() { put(t, s, "n/6", "6") }()
	if got := next(t, w, 1); got[0] != "n/6" {
		t.Errorf("got %v, want n/6", got)
	}
	want(t, s, "n/6", "6")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if keys, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next of an ended context: %v, %v", keys, err)
	}
}

// versions checks that versions grow in the order of commits, and that a watch
// delivers one batch for each with its version.
func versions(t *testing.T, s state.Store) {
	w := s.Watch("n/")
	defer w.Close()
	if v := update(t, s, func(tx state.Tx) error { _, err := number(tx, "n/1"); return err }); v != 0 {
		t.Errorf("an update that wrote nothing has version %d", v)
	}
	var last state.Version
	for _, keys := range [][]string{{"n/1"}, {"n/2", "n/3"}, {"n/4", "n/1"}} {
		v := update(t, s, func(tx state.Tx) error {
			for _, k := range append(keys, "m/1") {
				if err := tx.Put(k, nil); err != nil {
					return err
				}
			}
			return nil
		})
		if v <= last {
			t.Errorf("version %d after %d", v, last)
		}
		last = v
		put(t, s, "m/2", "")
	}
	other := update(t, s, func(tx state.Tx) error { return tx.Delete("n/2") })
	for i, want := range []string{"n/1", "n/2 n/3", "n/4 n/1", "n/2"} {
		b, err := w.Next(t.Context())
		if err != nil || b.Overflow || strings.Join(written(b), " ") != want {
			t.Fatalf("batch %d: %+v, %v; want %s", i, b, err, want)
		}
		if i == 2 && b.Version != last || i == 3 && b.Version != other {
			t.Errorf("batch %d: %+v, want the versions %d and %d", i, b, last, other)
		}
	}
}

// watchChanged checks that whoever only waits on Changed is woken by each
// commit that comes after it looked, also when the watch overflowed.
func watchChanged(t *testing.T, s state.Store) {
	w := s.Watch("n/")
	defer w.Close()
	for range 3 {
		for i := range 3 {
			update(t, s, func(tx state.Tx) error {
				for j := range 500 {
					if err := tx.Put(fmt.Sprintf("n/%d/%d", i, j), nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
		<-w.Changed()
		select {
		case <-w.Changed():
			t.Error("woken twice")
		default:
		}
	}
}

// watchOrder has many writers draw numbers from one row and note each under a
// key of its own; the watch must see them in order, none missed, none twice.
func watchOrder(t *testing.T, s state.Store) {
	const writers, rounds = 8, 20
	w := s.Watch("drawn/")
	defer w.Close()
	var all sync.WaitGroup
	defer all.Wait()
	for range writers {
		all.Go(func() {
			for range rounds {
				_, err := s.Update(t.Context(), func(tx state.Tx) error {
					n, err := number(tx, "last")
					next := fmt.Appendf(nil, "%d", n+1)
					return errors.Join(err, tx.Put("last", next), tx.Put(fmt.Sprintf("drawn/%d", n+1), nil))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i, key := range next(t, w, writers*rounds) {
		if want := fmt.Sprintf("drawn/%d", i+1); key != want {
			t.Fatalf("change %d is %s, want %s", i+1, key, want)
		}
	}
}

func watchOverflow(t *testing.T, s state.Store) {
	w := s.Watch("n/")
	defer w.Close()
	var last state.Version
	for i := range 3 {
		last = update(t, s, func(tx state.Tx) error {
			for j := range 400 {
				if err := tx.Put(fmt.Sprintf("n/%d/%d", i, j), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if b, err := w.Next(t.Context()); !b.Overflow || b.Version != last || b.Rows != nil || err != nil {
		t.Fatalf("1200 changes behind: %+v, %v; want an overflow of n/ up to %d", b, err, last)
	}
	put(t, s, "n/after", "")
	if got := next(t, w, 1); got[0] != "n/after" {
		t.Errorf("after the overflow: %v", got)
	}
}

func watchClose(t *testing.T, s state.Store) {
	closed, ended := s.Watch(""), s.Watch("")
	errs := make(chan error)
	for _, w := range []*state.Watch{closed, ended} {
		go func() {
			_, err := w.Next(t.Context())
			errs <- err
		}()
	}
	closed.Close()
	if err := <-errs; !errors.Is(err, state.ErrClosed) {
		t.Errorf("Next of a closed watch: %v", err)
	}
	put(t, s, "a", "1") // wakes the other one only
	if err := <-errs; err != nil {
		t.Errorf("Next of the other watch: %v", err)
	}
	closed.Close()
	if _, err := closed.Next(t.Context()); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Next of a watch closed twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*state.Watch{ended, s.Watch("")} {
		if _, err := w.Next(t.Context()); !errors.Is(err, state.ErrClosed) {
			t.Errorf("Next when the store is closed: %v", err)
		}
	}
}

// closing checks that Close waits for a running transaction and refuses later ones.
func closing(t *testing.T, s state.Store) {
	put(t, s, "a", "1")
	started, release, viewed, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		viewed <- s.View(t.Context(), func(r state.Reader) error {
			close(started)
			<-release
			_, err := r.Get("a")
			return err
		})
	}()
	<-started
	go func() { closed <- s.Close() }()
	for s.View(t.Context(), func(state.Reader) error { return nil }) == nil {
	}
	select {
	case <-closed:
		t.Error("Close did not wait for a View")
	default:
	}
	close(release)
	if err := <-viewed; err != nil {
		t.Errorf("a View that Close waits for: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.Update(t.Context(), func(state.Tx) error { return nil }); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Update of a closed store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// next takes n changes.
func next(t *testing.T, w *state.Watch, n int) []string {
	t.Helper()
	var all []string
	for len(all) < n {
		b, err := w.Next(t.Context())
		if err != nil {
			t.Fatalf("after %d changes: %v", len(all), err)
		}
		if b.Overflow || len(b.Rows) == 0 {
			t.Fatalf("after %d changes: %+v", len(all), b)
		}
		all = append(all, written(b)...)
	}
	return all
}

// written lists the keys of a batch.
func written(b state.Batch) (all []string) {
	for _, row := range b.Rows {
		all = append(all, row.Key)
	}
	return all
}

// watchRows checks that a batch holds what was written, and tells an empty row from
// one that was deleted.
func watchRows(t *testing.T, s state.Store) {
	put(t, s, "n/1", "old")
	w := s.Watch("n/")
	defer w.Close()
	update(t, s, func(tx state.Tx) error {
		return errors.Join(tx.Delete("n/1"), tx.Put("n/2", []byte("new")), tx.Put("n/3", nil), tx.Touch("n/4"))
	})
	b, err := w.Next(t.Context())
	if err != nil || len(b.Rows) != 4 {
		t.Fatalf("%+v, %v", b, err)
	}
	for _, row := range b.Rows {
		want := map[string]string{"n/1": "<nil>", "n/2": "new", "n/3": "", "n/4": ""}[row.Key]
		got := string(row.Value)
		if row.Value == nil {
			got = "<nil>"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", row.Key, got, want)
		}
	}
	if b, ok, err := w.Take(); ok || err != nil {
		t.Errorf("there is more: %+v, %v", b, err)
	}
}

// watchOwn has writers look, without waiting, for what each has just committed.
func watchOwn(t *testing.T, s state.Store) {
	var all sync.WaitGroup
	defer all.Wait()
	for i := range 8 {
		all.Go(func() {
			w := s.Watch(fmt.Sprintf("n/%d/", i))
			defer w.Close()
			for j := range 100 {
				key := fmt.Sprintf("n/%d/%d", i, j)
				if _, err := s.Update(t.Context(), func(tx state.Tx) error { return tx.Put(key, nil) }); err != nil {
					t.Error(err)
				}
				if b, ok, err := w.Take(); !ok || err != nil || b.Rows[0].Key != key {
					t.Errorf("after the commit of %s: %+v, %v, %v", key, b, ok, err)
				}
			}
		})
	}
}

// watchLarge checks that a commit of more rows than are held for a slow reader is
// delivered whole to one that keeps up.
func watchLarge(t *testing.T, s state.Store) {
	w := s.Watch("n/")
	defer w.Close()
	const rows = 3000
	for range 2 {
		update(t, s, func(tx state.Tx) error {
			for i := range rows {
				if err := tx.Put(fmt.Sprintf("n/%d", i), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if b, err := w.Next(t.Context()); err != nil || b.Overflow || len(b.Rows) != rows {
			t.Fatalf("%d rows, overflow %v, %v", len(b.Rows), b.Overflow, err)
		}
	}
}
