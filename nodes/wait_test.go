package nodes

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Who gives up on many nodes does not wait until all of them were looked at; who waited
// long enough is told which are missing. An image is read once for all who boot it.
func TestWaitForManyEnds(t *testing.T) {
	t.Parallel()
	const many = 50
	l := newLab(t, nil)
	l.populate(t, many)
	all, err := l.All(t.Context())
	ok(t, err)
	set, err := all.Now(t.Context())
	ok(t, err)
	counted := &countedReads{Store: l.Store}
	l.Store = counted
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	missing, err := l.Wait(over, set, func([]DeviceStatus) {})
	if len(missing) != many || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: %d nodes, %v", len(missing), err)
	}
	if most := 4*many + 1; counted.n > most { // its name, itself, its link, its order
		t.Errorf("%d rows were read of %d nodes, want %d", counted.n, many, most)
	}
	counted.n = 0
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Wait(given, set, func([]DeviceStatus) {}); !errors.Is(err, context.Canceled) || counted.n > 0 {
		t.Errorf("given up: %d rows were read, %v", counted.n, err)
	}
}
