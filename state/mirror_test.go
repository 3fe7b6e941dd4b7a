package state_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

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
	for i := range 1500 {
		set(t, s, fmt.Sprint(i%700), i)
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
