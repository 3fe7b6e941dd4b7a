package nodes

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/state"
)

// A node may come up between two looks at it: each is restarted once all the same.
func TestAtOnceRestartsEachOnce(t *testing.T) {
	t.Parallel()
	l := &Lab{}
	ds := []Device{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	looks := 0
	quick := func(Device) bool { looks++; return looks > 2 }
	var restarted []Name
	restart := func(_ context.Context, d Device) Reboot { return Reboot{Outcome: RebootOK} }
	ok(t, atOnce(t.Context(), &l.works, ds, quick, restart, func(d Device, _ Reboot) { restarted = append(restarted, d.Name) }))
	if slices.Sort(restarted); !slices.Equal(restarted, []Name{"a", "b", "c"}) {
		t.Errorf("restarted %v", restarted)
	}
}

// held is a store that counts its updates, and before the second of them waits until
// many nodes were started.
type held struct {
	state.Store
	updates *atomic.Int32
	grid    *grid
	nodes   int
}

func (s held) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	started := func() int {
		s.grid.mu.Lock()
		defer s.grid.mu.Unlock()
		return len(s.grid.started)
	}
	if s.updates.Add(1) == 2 {
		for deadline := time.Now().Add(time.Minute); started() < s.nodes && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
	}
	return s.Store.Update(ctx, f)
}

// What came of a hard reboot of virtual nodes is written for many at once.
func TestHardRebootsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	const nodes = 20
	l := newLab(t, []auth.Name{"bob"})
	l.grid.dead = true
	for i := range nodes {
		_, err := l.Create(t.Context(), "bob", Virtual{Name: Name(fmt.Sprintf("v%d", i)), Model: "m1"}, nil)
		ok(t, err)
	}
	l.grid.take()
	updates := &atomic.Int32{}
	l.Store = held{l.Store, updates, l.grid, nodes}
	ok(t, l.Reboot(t.Context(), "bob", parse("my-nodes"), true, consent.Agreement{}, func(Change) {}))
	if n := len(l.grid.take()); n != nodes {
		t.Errorf("%d nodes were started", n)
	}
	if n := updates.Load(); n > nodes/2 {
		t.Errorf("%d transactions for %d nodes", n, nodes)
	}
}
