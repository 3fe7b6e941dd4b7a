package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"walt/consent"
	"walt/images"
	"walt/state"
)

// Who gives up on many nodes does not wait until all of them were looked at; who waited
// long enough is told which are missing. Nothing is read for it but once the image that all
// boot.
func TestWaitForManyEnds(t *testing.T) {
	t.Parallel()
	const many = 50
	l := newLab(t, nil)
	l.populate(t, many)
	all, err := l.All(t.Context())
	ok(t, err)
	set := slices.Collect(all.Found())
	counted := &countedReads{Store: l.Store}
	l.Store = counted
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	missing, err := l.Wait(over, set, func([]Missing) {})
	if len(missing) != many || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: %d nodes, %v", len(missing), err)
	}
	if counted.n > 1 {
		t.Errorf("%d rows were read for %d nodes, want 1", counted.n, many)
	}
	counted.n = 0
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Wait(given, set, func([]Missing) {}); !errors.Is(err, context.Canceled) || counted.n > 0 {
		t.Errorf("given up: %d rows were read, %v", counted.n, err)
	}
}

// meanwhile is a store of which something happens in the middle of the first read.
type meanwhile struct {
	state.Store
	does func() // nil: it has happened
}

func (s *meanwhile) View(ctx context.Context, f func(state.Reader) error) error {
	return s.Store.View(ctx, func(r state.Reader) error {
		if does := s.does; does != nil {
			s.does = nil // it reads, too
			does()
		}
		return f(r)
	})
}

// A node that comes up while it is looked at is not said to be up and waited for.
func TestWaitForWhatComesUp(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	d := l.state(t, "v1").Device
	_, err := l.Rename(t.Context(), "bob", "v1", "v3", consent.Agreement{})
	ok(t, err)
	l.Store = &meanwhile{Store: l.Store, does: func() { l.comeUp(t, "v3") }}
	_, err = l.Wait(t.Context(), []*Device{d}, func(missing []Missing) {
		for _, n := range missing {
			if n.State == Up {
				t.Errorf("waited for %s, which is up", n.Name)
			}
		}
	})
	ok(t, err)
}

// Machines that are used save no power, more of them than one transaction takes, too. Of
// nodes whose power nobody saves nothing is read.
func TestWakeMany(t *testing.T) {
	t.Parallel()
	const many = wokenAtOnce + 200
	l := newLab(t, nil)
	l.populate(t, 100)
	all, err := l.All(t.Context())
	ok(t, err)
	counted := &countedReads{Store: l.Store}
	l.Store = counted
	woke, err := l.Wake(t.Context(), slices.Collect(all.Found()))
	ok(t, err)
	if len(woke) > 0 || counted.n > 0 {
		t.Errorf("%d of 100 nodes were woken, and %d rows read", len(woke), counted.n)
	}

	var machines []*Device
	for i := range many {
		name := fmt.Sprintf("m-%d", i)
		machines = append(machines, &Device{Name: Name(name), MAC: macOf(name), Kind: Node, Host: QEMU, Model: "m1", Image: images.DefaultRef("m1")})
	}
	_, err = l.Store.Update(t.Context(), func(tx state.Tx) (err error) {
		for _, d := range machines {
			err = errors.Join(err, put(tx, *d))
		}
		return err
	})
	ok(t, err)
	l.Store = tight{l.Store, many - 100}
	_, err = l.Wake(t.Context(), machines)
	ok(t, err)
	used := 0
	ok(t, l.Store.View(t.Context(), func(r state.Reader) error {
		for _, err := range r.Keys("last-use/", "") {
			if err != nil {
				return err
			}
			used++
		}
		return nil
	}))
	if used != many {
		t.Errorf("%d of %d machines are used", used, many)
	}
}
