package power_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/state"
)

// sleeper is a machine that packets wake. It is on at first.
type sleeper struct {
	mu      sync.Mutex
	off     bool
	ends    bool // it was asked to end what runs, and still answers
	boots   int  // how often it began to
	refuses bool // to do what it is asked for
	deaf    int  // how many packets it does not hear
	packets int
	booting bool // as the lab sees it

	asked   int
	before  func(asked int) // called in each request, before it does anything
	noted   func()          // called when it begins to boot
	nowhere bool            // there is no network of boards
}

func (s *sleeper) request() {
	time.Sleep(100 * time.Millisecond)
	if s.asked++; s.before != nil {
		s.before(s.asked)
	}
}

func (s *sleeper) presence(ctx context.Context) (power.Presence, error) {
	s.request()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.booting:
		return power.Starting, ctx.Err()
	case s.off:
		return power.Silent, ctx.Err()
	}
	return power.Awake, ctx.Err()
}

// end has it do something in ten seconds, and answer until then.
func (s *sleeper) end(ctx context.Context, then func()) error {
	s.request()
	s.mu.Lock()
	if s.refuses {
		s.mu.Unlock()
		return fault.Failedf("it does not do so")
	}
	if !s.ends && ctx.Err() == nil {
		s.ends = true
		time.AfterFunc(10*time.Second, then)
	}
	s.mu.Unlock()
	return ctx.Err()
}

func (s *sleeper) shutDown(ctx context.Context) error {
	err := s.end(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.off, s.ends = true, false
	})
	for err == nil {
		var is power.Presence
		if is, err = s.presence(ctx); is == power.Silent {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return err
}

func (s *sleeper) restart(ctx context.Context) error {
	return s.end(ctx, s.boot)
}

// boot is what its firmware does.
func (s *sleeper) boot() {
	s.mu.Lock()
	s.off, s.ends = false, false
	s.boots++
	s.mu.Unlock()
	s.noted()
}

func (s *sleeper) Able() error {
	if s.nowhere {
		return fault.Failedf("no network")
	}
	return nil
}

func (s *sleeper) Wake(ethernet.MAC) error {
	s.request()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packets++; s.packets > s.deaf && s.off {
		s.off, s.booting = false, false
		s.ends = true
		time.AfterFunc(10*time.Second, s.boot)
	}
	return nil
}

// isDark reports whether it is off, or about to be.
func (s *sleeper) isDark() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off || s.ends
}

// newSleeper has n1 of a room be one.
func (r *room) newSleeper(t testing.TB) {
	t.Helper()
	r.Waker = &r.pc
	r.pc.noted = func() {
		_, err := r.Store.Update(context.Background(), func(tx state.Tx) error { return r.NoteBoot(tx, macOf("n1")) })
		if err != nil {
			t.Error(err)
		}
	}
	ok(t, r.feed(t, "n1", "wol"))
}

// ordered is what the report says of n1.
func (r *room) ordered(t testing.TB) power.PortState {
	t.Helper()
	report, err := r.Report(t.Context())
	ok(t, err)
	for _, p := range report.Ports {
		if p.Outlet == "wol" {
			return p
		}
	}
	t.Fatalf("the report is %+v", report)
	return power.PortState{}
}

// Whatever becomes of a node that is asked to shut down, at whichever moment, also when the
// server ends then, and though packets get lost: it is on in the end, and who took it has
// a machine that started anew.
func TestNoSleeperIsLeftOff(t *testing.T) {
	t.Parallel()
	for what, does := range map[string]func(tx state.Tx, r *room) error{
		"it is taken":       func(tx state.Tx, r *room) error { _, err := r.PowerCycle(tx, macOf("n1")); return err },
		"it is needed soon": func(tx state.Tx, r *room) error { return r.PowerCycleSoon(tx, macOf("n1")) },
		"it is switched on": func(tx state.Tx, r *room) error { _, err := r.SwitchOn(tx, macOf("n1")); return err },
	} {
		for _, killed := range []bool{false, true} {
			name := what
			if killed {
				if what != "it is taken" { // which is the most that there is
					continue
				}
				name += " by another server"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for at, reached := 1, true; reached; at++ {
					synctest.Test(t, func(t *testing.T) {
						r := newRoom(t, 1)
						r.newSleeper(t)
						r.pc.deaf = 5
						ctx, kill := context.WithCancel(t.Context())
						defer kill()
						reached = false
						boots := 0
						r.pc.before = func(asked int) {
							if asked != at {
								return
							}
							reached, boots = true, r.pc.boots
							if killed {
								kill()
							} else {
								r.update(t, func(tx state.Tx) error { return does(tx, r) })
							}
						}
						var port power.Port
						r.update(t, func(tx state.Tx) (err error) {
							r.SetIdle(time.Nanosecond)
							port, err = r.PowerOff(tx, macOf("n1"), false, "")
							return err
						})
						if err := r.Execute(ctx, port); err != nil && !errors.Is(err, context.Canceled) {
							t.Fatal(err)
						}
						if !reached { // it was off before
							if !r.pc.isDark() {
								t.Error("it is not off")
							}
							return
						}
						if killed {
							r.update(t, func(tx state.Tx) error { return does(tx, r) })
						}
						r.SetIdle(0)
						stop := r.run(t)
						time.Sleep(10 * time.Minute)
						stop()
						if r.pc.isDark() || r.ordered(t).Power != "unknown" {
							t.Errorf("at request %d: it is off, or %+v", at, r.ordered(t))
						}
						if anew := r.pc.boots > boots; !anew && what != "it is switched on" {
							t.Errorf("at request %d: it did not boot anew", at)
						}
					})
				}
			})
		}
	}
}

func TestSleeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		r.pc.nowhere = true
		r.Waker = &r.pc
		if err := r.feed(t, "n1", "wol"); err == nil || fault.Reason(err) != "no network" {
			t.Errorf("without a network: %v", err)
		}
		r.pc.nowhere = false
		r.newSleeper(t)
		must := func(words, power string) {
			t.Helper()
			if p := r.ordered(t); p.Power != power || !strings.Contains(p.Error, words) {
				t.Errorf("it is %+v, want %s, %s", p, power, words)
			}
		}
		must("", "unknown")

		// What starts cannot be asked yet, and what refuses stays on.
		r.pc.booting = true
		port := r.orderOff(t, "n1")
		if err := r.Execute(t.Context(), port); err == nil {
			t.Error("what boots was switched off")
		}
		must("cannot be asked to shut down before it is up", "to be off")
		r.pc.booting, r.pc.refuses = false, true
		if err := r.Execute(t.Context(), port); err == nil {
			t.Error("what refuses was switched off")
		}
		must("it does not do so", "to be off")
		r.pc.refuses = false
		ok(t, r.Execute(t.Context(), port))
		must("", "off")

		// It is off: what feeds it stays, until it is to be on.
		if err := r.feed(t, "n1", "poe"); err == nil || fault.Reason(err) != "n1 is off at wol; nothing changed" {
			t.Errorf("while it is off: %v", err)
		}
		saved := time.Duration(0)
		lasts := func(what string, passes time.Duration) {
			t.Helper()
			report, err := r.Report(t.Context())
			ok(t, err)
			if report.Saved < saved+passes {
				t.Errorf("%s: %v were saved, and %v before", what, report.Saved, saved)
			}
			saved = report.Saved
		}
		time.Sleep(time.Hour)
		lasts("off for an hour", time.Hour)
		r.pc.deaf = 1000
		if !r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOn(tx, macOf("n1")) }) || r.pc.packets != 3 {
			t.Errorf("it was sent %d packets", r.pc.packets)
		}
		must("has not begun to boot", "to be on")
		lasts("to be on", 0)
		ok(t, r.feed(t, "n1", "poe"))
		lasts("not woken by packets any more", 0)
		if off := r.off(t, "n1"); off != (power.Off{}) {
			t.Errorf("%+v", off)
		}

		// Nothing is left of one that is forgotten.
		ok(t, r.feed(t, "n1", "wol"))
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		time.Sleep(time.Hour)
		lasts("off once more", time.Hour)
		r.forget(t, "n1")
		lasts("forgotten", 0)
		report, err := r.Report(t.Context())
		ok(t, err)
		if len(report.Ports) > 0 {
			t.Errorf("%+v", report.Ports)
		}
	})
}

// A node whose power button somebody pressed while it was off is on.
func TestSleeperThatBoots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		r.newSleeper(t)
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		r.pc.boot()
		if off := r.off(t, "n1"); off != (power.Off{}) {
			t.Errorf("%+v", off)
		}
		// One that is about to be switched off stays to be.
		port := r.orderOff(t, "n1")
		r.pc.boot()
		if off := r.off(t, "n1"); off.By != "alice" {
			t.Errorf("%+v", off)
		}
		ok(t, r.Execute(t.Context(), port))
		if !r.pc.isDark() {
			t.Error("it is on")
		}
	})
}

// Nobody can cut the power of a sleeper: who wants that is told, and so is who helps nodes.
func TestSleeperIsNotCut(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 2)
	r.newSleeper(t)
	ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
		if err := r.MayCut(reader, macOf("n1")); err == nil || !strings.HasPrefix(fault.Reason(err), "nothing can cut the power of n1") {
			t.Error(err)
		}
		return r.MayCut(reader, macOf("n2"))
	}))
	if why := r.refusesCycle(t, "n1"); !strings.Contains(why, "nothing can cut its power") {
		t.Errorf("it may be cycled: %q", why)
	}
}
