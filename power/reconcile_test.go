package power_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walt/ethernet"
	"walt/power"
	"walt/state"
)

// scans counts the transactions that read all orders.
type scans struct {
	state.Store
	n atomic.Int64
}

func (s *scans) View(ctx context.Context, f func(state.Reader) error) error {
	return s.Store.View(ctx, func(r state.Reader) error { return f(scanned{r, &s.n}) })
}

type scanned struct {
	state.Reader
	n *atomic.Int64
}

func (s scanned) Scan(prefix, start string) iter.Seq2[state.Row, error] {
	if strings.HasPrefix(prefix, "order/") {
		s.n.Add(1)
	}
	return s.Reader.Scan(prefix, start)
}

// Orders are followed as they come and go: not all of them are read each time that one
// changes.
func TestOrdersAreNotAllReadAgain(t *testing.T) {
	t.Parallel()
	const nodes = 20
	r := newRoom(t, nodes)
	counted := &scans{Store: r.Store}
	r.Store = counted
	// until waits until something is so of so many nodes.
	until := func(want int, is func(power.Wiring, ethernet.MAC) bool) {
		t.Helper()
		n := -1
		for deadline := time.Now().Add(30 * time.Second); n != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("of %d nodes, want %d", n, want)
			}
			ok(t, r.Wiring(t.Context(), func(w power.Wiring) {
				n = 0
				for i := range nodes {
					if is(w, macOf(fmt.Sprintf("n%d", i+1))) {
						n++
					}
				}
			}))
		}
	}
	stop := r.run(t)
	r.SetIdle(time.Nanosecond)
	until(nodes, func(w power.Wiring, mac ethernet.MAC) bool { _, off := w.Off(mac); return off })
	r.SetIdle(0)
	for i := range nodes {
		r.update(t, func(tx state.Tx) error { return r.PowerCycleSoon(tx, macOf(fmt.Sprintf("n%d", i+1))) })
	}
	until(0, power.Wiring.Ordered)
	stop()
	if n := counted.n.Load(); n > 3 {
		t.Errorf("all orders were read %d times", n)
	}
}
