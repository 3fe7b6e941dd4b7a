package power_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/ethernet"
	"walt/power"
	"walt/power/snmp"
	"walt/state"
)

// Whatever comes between saving power and somebody who takes the node, the node
// has power when that is done, and keeps it: at a port as well as at outlets.
func TestTakenWhileSaving(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"before the order", "after the order", "while it is cut", "before that is noted", "after that"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1)
				r.takenWhileSaving(t, moment, r.port(t, "n1"), func(cut func()) {
					r.rig.OnChange = func(string, bool) {
						r.rig.OnChange = nil
						cut()
					}
				}, func() int { return len(r.rig.Dark()) })
			})
		})
		t.Run(moment+" of outlets", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1)
				p := r.newPlugs(t, "n1")
				r.takenWhileSaving(t, moment, power.Port{Switch: macOf("n1"), Number: -1}, func(cut func()) {
					p.before = func(asked int) {
						if p.dark() > 0 {
							p.before = nil
							cut()
						}
					}
				}, p.dark)
			})
		})
	}
}

// takenWhileSaving has n1, at a port of its own, be taken at a moment of saving its power. onCut has a
// function be called once when that is cut.
func (r *room) takenWhileSaving(t *testing.T, moment string, port power.Port, onCut func(func()), dark func() int) {
	s := &between{Store: r.Store}
	r.Ports.Store = s
	taken := false
	take := func() {
		r.take(t, "n1")
		if taken = true; dark() > 0 {
			t.Error("taken, and off")
		}
	}
	var meanwhile sync.WaitGroup // where who takes it has to wait for what he came between
	r.SetIdle(time.Nanosecond)
	_, err := r.OrderOff(t.Context()) // power is saved from now on
	ok(t, err)
	time.Sleep(time.Second)
	if moment == "before the order" {
		s.do = take
	}
	_, err = r.OrderOff(t.Context())
	ok(t, err)
	switch moment {
	case "after the order":
		take()
	case "while it is cut":
		onCut(func() { meanwhile.Go(take) })
	case "before that is noted":
		s.do = func() { meanwhile.Go(take) }
	}
	ok(t, r.Execute(t.Context(), port))
	if moment == "after that" {
		if dark() == 0 {
			t.Error("its power is not saved")
		}
		take()
	}
	meanwhile.Wait()
	_, err = r.OrderOff(t.Context())
	ok(t, err)
	ok(t, r.Execute(t.Context(), port))
	if !taken || dark() > 0 {
		t.Errorf("taken: %t, %d are off", taken, dark())
	}
}

// A device that comes to a port while that is about to be switched off keeps its
// power: the two of them are not alone there.
func TestConnectedWhileSaving(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 2)
	s := &between{Store: r.Store}
	r.Ports.Store = s
	r.SetIdle(time.Nanosecond)
	r.put(t, power.Device{Name: "other"})
	s.do = func() { r.plug(t, "other", "sw1", 1) }
	_, err := r.OrderOff(t.Context())
	ok(t, err)
	for _, n := range []string{"n1", "n2"} {
		ok(t, r.Execute(t.Context(), r.port(t, n)))
	}
	equal(t, "ports off", r.rig.Dark(), "one:161/2")
}

// between is a store that calls do between what the next transaction that writes
// has read and its commit.
type between struct {
	state.Store
	do func()
}

func (s *between) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	return s.Store.Update(ctx, func(tx state.Tx) error {
		w := &writes{Tx: tx}
		err := f(w)
		if do := s.do; err == nil && w.any && do != nil {
			s.do = nil
			do()
		}
		return err
	})
}

// writes notes whether a transaction wrote.
type writes struct {
	state.Tx
	any bool
}

func (w *writes) Put(key string, value []byte) error {
	w.any = true
	return w.Tx.Put(key, value)
}

// An order that somebody attends to is left to them, for a while.
func TestOrdersAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		r.SetIdle(time.Hour)
		r.run(t)
		r.put(t, power.Device{Name: "n1", Node: true})
		r.put(t, power.Device{Name: "n2", Node: true, Idle: true, Since: time.Now().Add(-2 * time.Hour)})
		r.plug(t, "n2", "sw1", 2)
		time.Sleep(time.Hour + time.Second)
		equal(t, "ports off", r.rig.Dark(), "one:161/2")

		var port power.Port
		r.update(t, func(tx state.Tx) (err error) {
			port, err = r.PowerOn(tx, macOf("n2"))
			return err
		})
		time.Sleep(time.Minute)
		equal(t, "ports off while somebody attends to one", r.rig.Dark(), "one:161/2")
		time.Sleep(time.Minute + time.Second)
		equal(t, "ports off when they did not", r.rig.Dark())
		ok(t, r.Execute(t.Context(), port))

		r.update(t, func(tx state.Tx) error { return r.PowerCycleSoon(tx, macOf("n2")) })
		time.Sleep(10 * time.Second)
		equal(t, "power cycles that nobody waits for", r.rig.Cycles(), "one:161/2")
	})
}

// An order is followed when it is sure to last, not when it can be seen: a port that is
// off without one would stay so.
func TestOrdersThatMayNotLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		r.put(t, power.Device{Name: "vm1", Node: true, Virtual: true, Idle: true})
		r.update(t, func(tx state.Tx) error { return power.AddMachine(tx, macOf("vm1")) })
		r.SetIdle(time.Minute)
		_, err := r.OrderOff(t.Context()) // power is saved from now on
		ok(t, err)
		time.Sleep(time.Hour)
		s := &slowDisk{Store: r.Store, done: make(chan struct{})}
		r.Ports.Store = s
		r.run(t)
		time.Sleep(time.Minute)
		if r.off(t, "n1").Since.IsZero() || r.off(t, "vm1").Since.IsZero() {
			t.Error("there are no orders")
		}
		equal(t, "ports off", r.rig.Dark())
		equal(t, "machines off", r.switched)
		close(s.done)
		time.Sleep(time.Minute)
		equal(t, "ports off when the order lasts", r.rig.Dark(), "one:161/1")
		equal(t, "machines off when the order lasts", r.switched, string(macOf("vm1"))+" false")
	})
}

// slowDisk is a store whose commits are seen at once, and last when done is closed.
type slowDisk struct {
	state.Store
	done chan struct{}
}

func (s *slowDisk) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	v, err := s.Store.Update(ctx, f)
	<-s.done
	return v, err
}

// Who has been idle for long when the server comes to be able to switch it off is
// not switched off at once: it is idle from then on.
func TestIdleFromTheDeclarationOn(t *testing.T) {
	t.Parallel()
	settings := func(t *testing.T, r *room, poe bool) {
		r.update(t, func(tx state.Tx) error {
			return r.Configure(tx, macOf("sw1"), power.Switch{Switch: snmp.Switch{Address: "one:161"}, PoE: poe})
		})
	}
	for name, c := range map[string]struct{ before, declare func(*testing.T, *room) }{
		"its port is told": {
			func(t *testing.T, r *room) { r.plug(t, "n1", "", 0) },
			func(t *testing.T, r *room) { r.plug(t, "n1", "sw1", 1) },
		},
		"its port is found": {
			func(t *testing.T, r *room) { r.plug(t, "n1", "", 0) },
			func(t *testing.T, r *room) {
				r.rig.Seen["one:161"] = []snmp.Neighbour{{Port: 1, MAC: string(macOf("n1")), Source: snmp.LLDP, Behind: 1}}
				_, _, err := r.Explore(t.Context(), "alice", []ethernet.MAC{macOf("sw1")})
				ok(t, err)
			},
		},
		"its switch may be switched": {
			func(t *testing.T, r *room) { settings(t, r, false) },
			func(t *testing.T, r *room) { settings(t, r, true) },
		},
		"who shared its port goes elsewhere": {
			func(t *testing.T, r *room) { r.put(t, power.Device{Name: "other"}); r.plug(t, "other", "sw1", 1) },
			func(t *testing.T, r *room) { r.plug(t, "other", "sw1", 7) },
		},
		"who shared its port is forgotten": {
			func(t *testing.T, r *room) { r.put(t, power.Device{Name: "other"}); r.plug(t, "other", "sw1", 1) },
			func(t *testing.T, r *room) {
				r.update(t, func(tx state.Tx) error { return r.Forget(tx, macOf("other")) })
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1)
				c.before(t, r)
				r.SetIdle(5 * time.Minute)
				stop := r.run(t)
				time.Sleep(10 * time.Minute)
				equal(t, "ports off before", r.rig.Dark())
				c.declare(t, r)
				declared := time.Now()
				due, err := r.Due(t.Context(), []ethernet.MAC{macOf("sw1")})
				ok(t, err)
				equal(t, "due", due, power.Due{Node: "n1", At: declared.Add(5 * time.Minute).UTC()})
				time.Sleep(5*time.Minute - time.Second)
				equal(t, "ports off too early", r.rig.Dark())
				time.Sleep(2 * time.Second)
				equal(t, "ports off", r.rig.Dark(), "one:161/1")
				if due, err = r.Due(t.Context(), []ethernet.MAC{macOf("n1")}); err != nil || len(due) > 0 {
					t.Errorf("due when it is off: %v, %v", due, err)
				}
				stop()
			})
		})
	}
}

// When power comes to be saved, nodes are idle from then on, as they are from the
// declaration of their switch on; a server that starts again goes on counting.
func TestIdleFromSavingOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		stop := r.run(t)
		time.Sleep(10 * time.Hour)
		r.SetIdle(time.Hour)
		begun := time.Now()
		due, err := r.Due(t.Context(), []ethernet.MAC{macOf("sw1")})
		ok(t, err)
		equal(t, "due", due, power.Due{Node: "n1", At: begun.Add(time.Hour).UTC()})
		time.Sleep(30 * time.Minute)
		equal(t, "ports off at once", r.rig.Dark())
		stop()
		r.run(t)
		time.Sleep(30*time.Minute + time.Second)
		equal(t, "ports off after an hour with a start in it", r.rig.Dark(), "one:161/1")

		r.SetIdle(0)
		r.update(t, func(tx state.Tx) error { _, err := r.PowerOn(tx, macOf("n1")); return err })
		time.Sleep(10 * time.Hour)
		equal(t, "ports off while none is to be", r.rig.Dark())
		r.SetIdle(2 * time.Hour)
		time.Sleep(2*time.Hour - time.Second)
		equal(t, "ports off at once, again", r.rig.Dark())
		r.SetIdle(time.Hour)
		time.Sleep(time.Second)
		equal(t, "ports off after less time", r.rig.Dark(), "one:161/1")
	})
}

// A clock that is set back while a port is off takes nothing from what was saved.
func TestSavedWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 1)
	r.rig.Hurried = true
	now := time.Now()
	r.Ports.Now = func() time.Time { return now }
	r.SetIdle(time.Nanosecond)
	port := r.port(t, "n1")
	_, err := r.OrderOff(t.Context()) // power is saved from now on
	ok(t, err)
	now = now.Add(time.Hour)
	_, err = r.OrderOff(t.Context())
	ok(t, err)
	ok(t, r.Execute(t.Context(), port))
	saved := func(want time.Duration) {
		t.Helper()
		report, err := r.Report(t.Context())
		ok(t, err)
		if report.Saved != want {
			t.Errorf("saved is %v, want %v", report.Saved, want)
		}
	}
	now = now.Add(time.Minute)
	saved(time.Minute)
	now = now.Add(-time.Hour)
	saved(0)
	r.take(t, "n1")
	if dark := r.rig.Dark(); len(dark) > 0 {
		t.Errorf("taken, and off: %v", dark)
	}
	saved(0)
}
