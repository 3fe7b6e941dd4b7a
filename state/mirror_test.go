package state_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/state"
	"walt/state/badger"
)

// numbers is a mirror of a table of ints, and what it holds.
type numbers struct {
	*state.Mirror[int]
	held  map[string]int
	loads int
}

var numbered = state.NewTable[int]("number")

func mirrored(s state.Store) *numbers {
	n := &numbers{}
	n.Mirror = state.NewMirror(s, numbered, func(all bool, changes []state.Change[int]) {
		if all {
			n.held = map[string]int{}
			n.loads++
		}
		for _, c := range changes {
			if c.Row == nil {
				delete(n.held, c.Key)
			} else {
				n.held[c.Key] = *c.Row
			}
		}
	})
	return n
}

// get returns what the mirror has of a key.
func (n *numbers) get(t *testing.T, key string) (v int, found bool) {
	t.Helper()
	if err := n.Read(t.Context(), func() { v, found = n.held[key] }); err != nil {
		t.Fatal(err)
	}
	return v, found
}

func memory(t *testing.T) state.Store {
	t.Helper()
	s, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func set(t *testing.T, s state.Store, key string, v int) {
	t.Helper()
	if _, err := s.Update(t.Context(), func(tx state.Tx) error { return numbered.Put(tx, key, v) }); err != nil {
		t.Error(err)
	}
}

// TestMirror has writers change rows while the mirror is read: each finds its own
// change at once, and in the end the mirror holds what the store does.
func TestMirror(t *testing.T) {
	t.Parallel()
	s := memory(t)
	set(t, s, "old", 7)
	n := mirrored(s)
	if v, _ := n.get(t, "old"); v != 7 {
		t.Errorf("a row from before the mirror is %d", v)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.Run(ctx) }()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 200 {
				key := fmt.Sprintf("%d/%d", w, random.IntN(10))
				if i%3 == 2 {
					if _, err := s.Update(t.Context(), func(tx state.Tx) error { return numbered.Delete(tx, key) }); err != nil {
						t.Error(err)
					}
					if v, found := n.get(t, key); found {
						t.Errorf("%s, which was deleted, is %d", key, v)
					}
					continue
				}
				set(t, s, key, i)
				if v, _ := n.get(t, key); v != i {
					t.Errorf("%s is %d just after it was set to %d", key, v, i)
				}
			}
		})
	}
	writers.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	agrees(t, s, n)
}

// TestMirrorBehind changes more rows than a watch holds before the mirror is read
// again.
func TestMirrorBehind(t *testing.T) {
	t.Parallel()
	s := memory(t)
	n := mirrored(s)
	n.get(t, "none")
	for i := range 200 {
		_, err := s.Update(t.Context(), func(tx state.Tx) error {
			for j := range 100 {
				if err := numbered.Put(tx, fmt.Sprint((i*100+j)%700), i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	agrees(t, s, n)
	if n.loads != 2 {
		t.Errorf("everything was read %d times, want twice", n.loads)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Read(t.Context(), func() {}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// agrees checks that the mirror holds what the store does.
func agrees(t *testing.T, s state.Store, n *numbers) {
	t.Helper()
	want := map[string]int{}
	err := s.View(t.Context(), func(r state.Reader) error {
		for e, err := range numbered.Scan(r, "", "") {
			if err != nil {
				return err
			}
			want[e.Key] = e.Value
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Read(t.Context(), func() {
		if !maps.Equal(n.held, want) {
			t.Errorf("the mirror holds %v, the store %v", n.held, want)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// quiet is a store without rows whose commits a test tells of.
type quiet struct {
	state.Store
	state.Watches
}

func (q *quiet) Watch(prefixes ...string) *state.Watch { return q.Add(prefixes...) }

func (q *quiet) View(_ context.Context, f func(state.Reader) error) error { return f(nothing{}) }

func (q *quiet) Close() error { return nil }

type nothing struct{ state.Reader }

func (nothing) Scan(string, string) iter.Seq2[state.Row, error] {
	return func(func(state.Row, error) bool) {}
}

// TestMirrorGathers has a mirror that runs take the commits of a moment together, of each
// row only the last, unless somebody reads before, or they are many.
func TestMirrorGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quiet{}
		var mu sync.Mutex
		var applied []string
		m := state.NewMirror(q, numbered, func(all bool, changes []state.Change[int]) {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range changes {
				text := c.Key + " gone"
				if c.Row != nil {
					text = fmt.Sprint(c.Key, " ", *c.Row)
				}
				applied = append(applied, text)
			}
		})
		version := state.Version(0)
		commit := func(key, value string) {
			version++
			row := state.Row{Key: "number/" + key}
			if value != "" {
				row.Value = []byte(value)
			}
			q.Notify(version, []state.Row{row})
		}
		want := func(when string, all ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(applied, all) {
				t.Errorf("%s: applied %q, want %q", when, applied, all)
			}
			applied = nil
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for i := range 9 {
			commit("a", fmt.Sprint(i))
			commit("b", fmt.Sprint(i))
		}
		commit("a", "")
		want("at once")
		time.Sleep(time.Second)
		want("after a moment", "b 8", "a gone")
		commit("a", "1")
		if err := m.Read(ctx, func() {}); err != nil {
			t.Error(err)
		}
		want("when it was read", "a 1")
		time.Sleep(time.Second)
		for range 1000 {
			commit("c", "7")
		}
		if synctest.Wait(); len(applied) == 0 || len(applied) > 10 {
			t.Errorf("of many changes of a row, %d were applied at once", len(applied))
		}
		stop()
		running.Wait()
	})
}
