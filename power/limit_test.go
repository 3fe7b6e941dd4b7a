package power_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/power"
	"walt/power/driver"
	"walt/state"
)

// orderCycle has the power of a node be off for a moment, and returns what came of it to who
// waits for that for so long.
func (r *room) orderCycle(t testing.TB, name string, limit time.Duration) error {
	t.Helper()
	var port power.Port
	r.update(t, func(tx state.Tx) (err error) {
		port, err = r.PowerCycle(tx, macOf(name))
		return err
	})
	limited, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return r.Execute(limited, port)
}

// mustBeDropped is what became of a cycle that took too long: who waited is told so, and nothing
// is cut any more.
func (r *room) mustBeDropped(t testing.TB, err error) {
	t.Helper()
	if _, dropped := errors.AsType[power.Dropped](err); !dropped {
		t.Errorf("who waited is told %v", err)
	}
	stop := r.run(t)
	time.Sleep(15 * time.Minute)
	stop()
	if off := r.off(t, "n1"); off != (power.Off{}) {
		t.Errorf("it is off: %+v", off)
	}
}

// A power cycle that takes too long is not done again later, wherever it stood.
func TestCycleThatTakesTooLongIsDropped(t *testing.T) {
	t.Parallel()
	for limit, done := 500*time.Millisecond, false; !done; limit += time.Second {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 1)
			p := r.newPlugs(t, "n1")
			err := r.orderCycle(t, "n1", limit)
			if done = err == nil; done {
				return
			}
			p.need()
			r.mustBeDropped(t, err)
			if p.dark() > 0 || p.late > 0 {
				t.Errorf("after %v: %v is off, %d were cut later", limit, p.off, p.late)
			}
		})
	}
}

// A power cycle that gives way, as its outlet comes to be shared, is not said to be done unless
// it was, wherever it stood.
func TestCycleThatGivesWayIsNotSaidToBeDone(t *testing.T) {
	t.Parallel()
	told := map[bool]int{} // whether it was done
	for at, reached := 1, true; reached; at++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 2)
			p := r.newPlugs(t, "n1")
			cut := false
			reached = false
			p.before = func(asked int) {
				if cut = cut || p.dark() > 0; asked == at {
					reached = true
					ok(t, r.feed(t, "n2", "rack:n1a"))
				}
			}
			err := r.orderCycle(t, "n1", time.Hour)
			if _, dropped := errors.AsType[power.Dropped](err); dropped == cut || p.dark() > 0 {
				t.Errorf("at request %d: cut: %t, %v, left %v", at, cut, err, p.off)
			}
			told[err == nil]++
		})
	}
	if told[false] == 0 || told[true] == 0 {
		t.Errorf("so often it was done, or not: %v", told)
	}
}

// The same of the port of a switch.
func TestCycleOfAPortThatTakesTooLongIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		err := r.orderCycle(t, "n1", time.Second)
		cut := 0
		r.rig.OnChange = func(_ string, on bool) {
			if !on {
				cut++
			}
		}
		r.mustBeDropped(t, err)
		if dark := r.rig.Dark(); len(dark) > 0 || cut > 0 {
			t.Errorf("%v is off, cut %d times later", dark, cut)
		}
	})
}

// Who waits for his turn leaves no cycle behind either, when he has gone.
func TestCycleWhoseTurnNeverCameIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		port := r.orderOff(t, "n1")
		var others sync.WaitGroup
		p.before = func(asked int) {
			if asked == 1 {
				time.Sleep(5 * time.Second)
			}
		}
		others.Go(func() { ok(t, r.Execute(t.Context(), port)) })
		synctest.Wait()
		err := r.orderCycle(t, "n1", time.Second)
		p.need()
		others.Wait()
		r.mustBeDropped(t, err)
		if p.dark() > 0 || p.late > 0 {
			t.Errorf("%v is off, %d were cut later", p.off, p.late)
		}
	})
}

// Of two who want the same, each is told what came of his own: the first, who may follow the
// order of the second, leaves that to him when it fails.
func TestCycleOfAnotherIsLeftToHim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := &stuck{plugs: plugs{off: map[string]bool{}}}
		ok(t, r.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
		ok(t, r.feed(t, "n1", "rack:stuck"))
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := r.orderCycle(t, "n1", time.Hour); err == nil || fault.Reason(err) != "it is locked" {
					t.Errorf("one of them is told %v", err)
				}
			})
			time.Sleep(500 * time.Millisecond) // while the device is asked for its state
		}
		both.Wait()
	})
}
