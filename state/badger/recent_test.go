package badger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"walt/state"
)

// TestRecentKeepsSumsWhole has transactions move amounts between accounts, of which so
// few are remembered that most are asked of badger again, and others add all up.
func TestRecentKeepsSumsWhole(t *testing.T) {
	for _, few := range []int{2, 8, generation} {
		t.Run(strconv.Itoa(few), func(t *testing.T) {
			s, err := OpenMemory()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.recent.generation, s.recent.mostRows = few, few
			const accounts, each, rounds = 8, 100, 200
			key := func(i int) string { return fmt.Sprintf("account/%d", i) }
			amount := func(r state.Reader, i int) (int, error) {
				v, err := r.Get(key(i))
				if errors.Is(err, state.ErrNotFound) { // an empty one
					return 0, nil
				}
				n, _ := strconv.Atoi(string(v))
				return n, err
			}
			set := func(tx state.Tx, i, n int) error {
				if n == 0 {
					return tx.Delete(key(i))
				}
				return tx.Put(key(i), []byte(strconv.Itoa(n)))
			}
			sum := func(r state.Reader) error {
				total := 0
				for i := range accounts {
					n, err := amount(r, i)
					if err != nil {
						return err
					}
					total += n
				}
				if total != accounts*each {
					t.Errorf("all accounts have %d, not %d", total, accounts*each)
				}
				return nil
			}
			_, err = s.Update(t.Context(), func(tx state.Tx) error {
				for i := range accounts {
					if err := set(tx, i, each); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for w := range uint64(6) {
				all.Go(func() {
					random := rand.New(rand.NewPCG(w, 1))
					for range rounds {
						from, to, n := random.IntN(accounts), random.IntN(accounts), random.IntN(each)
						if err := s.View(context.Background(), sum); err != nil {
							t.Error(err)
						}
						_, err := s.Update(context.Background(), func(tx state.Tx) error {
							if err := sum(tx); err != nil { // of a snapshot, whatever becomes of it
								return err
							}
							has, err := amount(tx, from)
							if err != nil {
								return err
							}
							n := min(n, has)
							if err := set(tx, from, has-n); err != nil {
								return err
							}
							had, err := amount(tx, to)
							return errors.Join(err, set(tx, to, had+n))
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if err := s.View(t.Context(), sum); err != nil {
				t.Fatal(err)
			}
			if n := len(s.recent.rows); n > max(few, 1) {
				t.Errorf("%d rows are kept, not %d at most", n, few)
			}
		})
	}
}

// TestRecent asks it what it answers of a row, and which commits are in conflict, by and
// by.
func TestRecent(t *testing.T) {
	r := newRecent()
	r.generation = 2
	row := func(key, value string) []state.Row { return []state.Row{{Key: key, Value: []byte(value)}} }
	want := func(key string, at state.Version, value string) {
		t.Helper()
		if a, known := r.find(key, r.hash(key), at); known != (value != "") || string(a.value) != value {
			t.Errorf("%s at %d is %q, %v, not %q", key, at, a.value, known, value)
		}
	}
	commit := func(read string, since, version state.Version, changed []state.Row, passes bool) {
		t.Helper()
		if got := r.commit([]uint64{r.hash(read)}, since, version, changed); got != passes {
			t.Errorf("commit %d that read %s at %d: %v", version, read, since, got)
		}
	}
	r.keep("a", r.hash("a"), answer{value: []byte("old")}, 0)
	want("a", 0, "old")
	commit("b", 0, 1, row("a", "new"), true)
	want("a", 0, "") // that snapshot has another one
	want("a", 1, "new")
	r.keep("a", r.hash("a"), answer{value: []byte("old")}, 0) // was read before
	want("a", 1, "new")
	commit("a", 0, 2, row("c", "1"), false)
	commit("a", 1, 2, row("c", "1"), true)
	r.drop(row("a", ""))
	want("a", 2, "")
	r.keep("b", r.hash("b"), answer{err: state.ErrNotFound}, 2)
	if a, known := r.find("b", r.hash("b"), 2); !known || !errors.Is(a.err, state.ErrNotFound) {
		t.Errorf("a row that is not there: %v, %v", a, known)
	}
	commit("b", 2, 3, row("b", "3"), true)
	want("b", 3, "3")
	commit("x", 3, 4, append(row("z", "1"), state.Row{Key: "b"}), true) // it deletes b
	if a, known := r.find("b", r.hash("b"), 4); !known || !errors.Is(a.err, state.ErrNotFound) {
		t.Errorf("a row that was deleted: %v, %v", a, known)
	}
	// By now it does not know of all that was written until commit 2.
	commit("never", 1, 5, row("d", "1"), false)
	want("a", 1, "")
	commit("never", 4, 5, row("d", "1"), true)
	r.keep("e", r.hash("e"), answer{value: make([]byte, rowSize+1)}, 5)
	if _, known := r.find("e", r.hash("e"), 5); known {
		t.Error("a large row is kept")
	}
}
