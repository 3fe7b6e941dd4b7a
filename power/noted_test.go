package power_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/power"
	"walt/state"
)

// full is a store that takes nothing, as long as there is no room.
type full struct {
	state.Store
	is atomic.Bool
}

func (s *full) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	return s.Store.Update(ctx, func(tx state.Tx) error { return f(fullTx{tx, &s.is}) })
}

type fullTx struct {
	state.Tx
	is *atomic.Bool
}

func (t fullTx) write(f func() error) error {
	if t.is.Load() {
		return fault.Failedf("the disk is full; nothing was changed")
	}
	return f()
}

func (t fullTx) Put(key string, value []byte) error {
	return t.write(func() error { return t.Tx.Put(key, value) })
}

func (t fullTx) Delete(key string) error {
	return t.write(func() error { return t.Tx.Delete(key) })
}

// What was cut for a moment is not cut again because the disk was too full to note that: neither
// later, nor for who needs it, nor when there is room.
func TestCycleThatCannotBeNotedIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	for what, fed := range map[string]bool{"outlets": true, "a port": false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 1)
			store := &full{Store: r.Store}
			r.Store = store
			portCuts := 0
			r.rig.OnChange = func(_ string, on bool) {
				if !on {
					portCuts++
				}
			}
			cut, once, dark := func() int { return portCuts }, 1, func() int { return len(r.rig.Dark()) }
			if fed {
				p := r.newPlugs(t, "n1")
				p.need()
				cut, once, dark = func() int { return p.late }, 2, p.dark
			}
			var port power.Port
			r.update(t, func(tx state.Tx) (err error) {
				port, err = r.PowerCycle(tx, macOf("n1"))
				return err
			})
			store.is.Store(true)
			const why = "it was done, and could not be noted: the disk is full"
			if err := r.Execute(t.Context(), port); err == nil || fault.Reason(err) != why || cut() != once || dark() > 0 {
				t.Errorf("%s: %v, cut %d times, %d are off", what, err, cut(), dark())
			}
			r.update(t, func(tx state.Tx) (err error) {
				port, err = r.Wake(tx, macOf("n1"))
				return err
			})
			if err := r.Execute(t.Context(), port); err == nil {
				t.Errorf("%s: who needs it is told nothing", what)
			}
			stop := r.run(t)
			time.Sleep(time.Hour)
			store.is.Store(false)
			time.Sleep(time.Hour)
			stop()
			if cut() != once || dark() > 0 {
				t.Errorf("%s: cut %d times, %d are off", what, cut(), dark())
			}
			r.update(t, func(tx state.Tx) (err error) {
				port, err = r.Wake(tx, macOf("n1"))
				return err
			})
			if !port.IsZero() {
				t.Errorf("%s: something is ordered still", what)
			}
		})
	}
}
