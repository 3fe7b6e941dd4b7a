package power_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/power"
	"walt/power/driver"
	"walt/state"
)

// plugs is a device of drivers whose requests take a second each.
type plugs struct {
	mu     sync.Mutex
	off    map[string]bool
	asked  int
	shows  time.Duration   // until an outlet is what it was told to be
	before func(asked int) // called in each request, before it does anything
	needed bool            // from now on
	lost   bool            // it never answers
	late   int             // how often an outlet was told to be off since
}

func (p *plugs) request(f func()) {
	time.Sleep(time.Second)
	if p.asked++; p.before != nil {
		p.before(p.asked)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *plugs) Status(ctx context.Context, t driver.Target) (s driver.State, err error) {
	if p.lost {
		<-ctx.Done()
		return driver.Unknown, ctx.Err()
	}
	p.request(func() {
		if s = driver.On; p.off[t.Port] {
			s = driver.Off
		}
	})
	return s, nil
}

func (p *plugs) Switch(_ context.Context, t driver.Target, on bool) error {
	p.mu.Lock()
	if p.needed && !on {
		p.late++
	}
	p.mu.Unlock()
	p.request(func() {
		if p.shows == 0 {
			p.off[t.Port] = !on
			return
		}
		time.AfterFunc(p.shows, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.off[t.Port] = !on
		})
	})
	return nil
}

func (p *plugs) Close() error { return nil }

// need has the outlets be needed from now on.
func (p *plugs) need() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.needed = true
}

// dark is how many outlets have no power.
func (p *plugs) dark() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, off := range p.off {
		if off {
			n++
		}
	}
	return n
}

// newPlugs has the nodes of a room be fed by two outlets each, rack:n1a and rack:n1b and so on.
func (r *room) newPlugs(t testing.TB, nodes ...string) *plugs {
	t.Helper()
	p := &plugs{off: map[string]bool{}}
	ok(t, r.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}}, nil))
	for _, name := range nodes {
		ok(t, r.feed(t, name, "rack:"+name+"a+rack:"+name+"b"))
	}
	return p
}

func (r *room) feed(t testing.TB, name, outlets string) error {
	t.Helper()
	s, err := power.ParseSupply(outlets)
	ok(t, err)
	_, err = r.Store.Update(t.Context(), func(tx state.Tx) error { return r.SetSupply(tx, macOf(name), s) })
	return err
}

func (r *room) orderOff(t testing.TB, name string) (port power.Port) {
	t.Helper()
	r.update(t, func(tx state.Tx) (err error) {
		port, err = r.PowerOff(tx, macOf(name), false, "alice")
		return err
	})
	return port
}

// Whatever becomes of a node while a slow device switches it off, which may show late what it
// did, and at whichever of its requests, no outlet is left without power that somebody needs or that nobody would switch on.
func TestNoOutletIsLeftDark(t *testing.T) {
	t.Parallel()
	for what, does := range map[string]func(t testing.TB, r *room){
		"it is taken": func(t testing.TB, r *room) {
			r.update(t, func(tx state.Tx) error { _, err := r.PowerCycle(tx, macOf("n1")); return err })
		},
		"it is woken": func(t testing.TB, r *room) {
			r.update(t, func(tx state.Tx) error { _, err := r.PowerOn(tx, macOf("n1")); return err })
		},
		"it boots": func(t testing.TB, r *room) {
			r.update(t, func(tx state.Tx) error { return r.NoteBoot(tx, macOf("n1")) })
		},
		"another is fed":  func(t testing.TB, r *room) { ok(t, r.feed(t, "n2", "rack:n1b")) },
		"it is forgotten": func(t testing.TB, r *room) { r.forget(t, "n1") },
		"it is forgotten and found again": func(t testing.TB, r *room) {
			r.forget(t, "n1")
			r.put(t, power.Device{Name: "n1", Node: true})
		},
	} {
		for device, shows := range map[string]time.Duration{"": 0, " at a device that does late what it says": 15 * time.Second} {
			t.Run(what+device, func(t *testing.T) {
				for at, reached := 1, true; reached; at++ {
					synctest.Test(t, func(t *testing.T) {
						r := newRoom(t, 2)
						p := r.newPlugs(t, "n1")
						p.shows = shows
						reached = false
						p.before = func(asked int) {
							if asked == at {
								reached = true
								does(t, r)
								if what != "it is taken" { // and begins anew
									p.need()
								}
							}
						}
						port := r.orderOff(t, "n1")
						ok(t, r.Execute(t.Context(), port))
						if !reached { // it was off before
							return
						}
						ok(t, r.Execute(t.Context(), port)) // who changed it, or Run
						time.Sleep(time.Minute)
						if p.dark() > 0 || p.late > 0 {
							t.Errorf("at request %d: %v is off, %d were cut since", at, p.off, p.late)
						}
					})
				}
			})
		}
	}
}

func (r *room) forget(t testing.TB, name string) {
	t.Helper()
	r.update(t, func(tx state.Tx) error {
		if err := devices.Delete(tx, string(macOf(name))); err != nil {
			return err
		}
		return r.Forget(tx, macOf(name))
	})
}

func TestOutletsStayWhileTheyAreOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		for _, other := range []string{"poe", "none", "rack:9", "rack:n1a"} {
			if err := r.feed(t, "n1", other); err == nil || fault.Reason(err) != "n1 is off at rack:n1a+rack:n1b; nothing changed" {
				t.Errorf("%s: %v", other, err)
			}
		}
		// Nobody can give them their power back who is not there any more.
		ok(t, r.Drivers.Set(nil, nil))
		ok(t, r.feed(t, "n1", "poe"))
		if off := r.off(t, "n1"); off != (power.Off{}) || p.dark() != 2 {
			t.Errorf("%+v, %v", off, p.off)
		}
	})
}

// Outlets that could not be switched on may be left: they may have been mistyped.
func TestOutletsThatFailAreLeft(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		was, also, next string // what feeds n1, which node that feeds, too, and what feeds n1 next
	}{
		"mistyped":          {"gone:1", "", "rack:n1a"},
		"one of two":        {"rack:n1a+gone:1", "", "rack:n1a"},
		"given up":          {"gone:1", "", "none"},
		"shared by mistake": {"gone:1", "n2", "rack:n1a"},
		"shared, to a port": {"gone:1", "n2", "poe"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 2)
				p := r.newPlugs(t)
				ok(t, r.Drivers.Set([]driver.Driver{{Name: "rack", Means: p}, {Name: "gone", Means: silent{}}}, nil))
				ok(t, r.feed(t, "n1", c.was))
				var port power.Port
				r.update(t, func(tx state.Tx) (err error) {
					port, err = r.SwitchOn(tx, macOf("n1"))
					return err
				})
				if err := r.feed(t, "n1", c.next); err == nil || fault.Reason(err) != "n1 is to be on at "+c.was+"; nothing changed" {
					t.Errorf("before it failed: %v", err)
				}
				if err := r.Execute(t.Context(), port); err == nil {
					t.Fatal("it is on")
				}
				if c.also != "" {
					ok(t, r.feed(t, c.also, "gone:1"))
				}
				ok(t, r.feed(t, "n1", c.next))
				for _, told := range r.report(t).Ports {
					if why := told.Last.Why; told.Node == "n1" && why != "" {
						t.Errorf("of what feeds it now it is told: %s", why)
					}
				}
				if c.also != "" { // which is to be on since
					ok(t, r.feed(t, c.also, "rack:n2a"))
				}
				p.off["n1a"], p.off["n2a"] = true, true
				stop := r.run(t)
				time.Sleep(time.Minute)
				stop()
				if dark := p.off["n1a"]; dark != (c.next != "rack:n1a") {
					t.Errorf("the outlet that feeds it now is off: %t", dark)
				}
				if c.also != "" && p.off["n2a"] {
					t.Error("what feeds the other now is off")
				}
			})
		})
	}
}

func (r *room) report(t testing.TB) power.Report {
	t.Helper()
	report, err := r.Report(t.Context())
	ok(t, err)
	return report
}

// silent is a device that nobody reaches.
type silent struct{}

func (silent) Status(context.Context, driver.Target) (driver.State, error) {
	return driver.Unknown, fault.Failedf("it is silent")
}

func (silent) Switch(context.Context, driver.Target, bool) error {
	return fault.Failedf("it is silent")
}

func (silent) Close() error { return nil }

// A port that is off gets its power back when the node is fed by something else.
func TestPortOfANodeThatIsFedHasPower(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 1)
	port := r.orderOff(t, "n1")
	ok(t, r.Execute(t.Context(), port))
	r.newPlugs(t, "n1")
	ok(t, r.Execute(t.Context(), port))
	if dark := r.rig.Dark(); len(dark) > 0 || r.off(t, "n1") != (power.Off{}) {
		t.Errorf("%v", dark)
	}
}

func TestSixCyclesAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 2) // at ports of a switch
		r.newPlugs(t, "n1")
		r.put(t, power.Device{Name: "n3", Node: true, Since: time.Now()}) // at nothing that is known
		may := func(name string) bool { return r.refusesCycle(t, name) == "" }
		for i := range 20 {
			if i < 10 && may("n1") != (i < 6) || i >= 10 && may("n2") != (i < 16) || !may("n3") {
				t.Errorf("cycle %d", i+1)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(41 * time.Minute) // the first was an hour ago
		for i := range 3 {
			if got := may("n1"); got != (i < 2) {
				t.Errorf("after an hour, cycle %d: %t", i+1, got)
			}
		}
		r.update(t, func(tx state.Tx) error { return r.Forget(tx, macOf("n2")) })
		r.plug(t, "n2", "sw1", 2)
		if !may("n2") {
			t.Error("what was forgotten is known")
		}
	})
}

// refusesCycle is why a node may not be power cycled unasked, "" if it may.
func (r *room) refusesCycle(t testing.TB, name string) (why string) {
	t.Helper()
	r.update(t, func(tx state.Tx) (err error) {
		why, err = r.NoteCycle(tx, macOf(name))
		return err
	})
	return why
}

// What is ordered of a node holds at the outlets that it has next, when the driver of the ones
// before is not in the file any more: it may have another name there.
func TestOrdersFollowARenamedDriver(t *testing.T) {
	t.Parallel()
	for what, shared := range map[string]bool{"alone": false, "shared": true} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 2)
				p := r.newPlugs(t, "n1")
				port := r.orderOff(t, "n1")
				ok(t, r.Execute(t.Context(), port))
				ok(t, r.Drivers.Set([]driver.Driver{{Name: "shelf", Means: p}}, nil))
				if shared {
					ok(t, r.feed(t, "n2", "shelf:n1a"))
				}
				ok(t, r.feed(t, "n1", "shelf:n1a+shelf:n1b"))
				ok(t, r.Execute(t.Context(), port))
				if off := r.off(t, "n1"); (off == power.Off{}) != shared || (p.dark() == 0) != shared {
					t.Errorf("%+v, %v", off, p.off)
				}
				ok(t, r.Drivers.Set(nil, nil))
				ok(t, r.feed(t, "n1", "none"))
			})
		})
	}
}

// A supply of which one outlet cannot be switched off is cut, and given back, no more often
// than six times an hour, whoever orders that and waits; and at once when drivers are set.
func TestPowerIsNotGivenBackAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 1)
			p := &stuck{plugs: plugs{off: map[string]bool{}}}
			all := []driver.Driver{{Name: "rack", Means: p}}
			ok(t, r.SetDrivers(all, nil))
			ok(t, r.feed(t, "n1", "rack:free+rack:stuck"))
			stop := r.run(t)
			synctest.Wait()
			port := r.orderOff(t, "n1")
			if waits {
				if err := r.Execute(t.Context(), port); err == nil {
					t.Error("what is locked was switched off")
				}
				time.Sleep(9 * time.Minute)
				if n := p.cut.Load(); n != 1 {
					t.Errorf("cut %d times at once", n)
				}
			}
			time.Sleep(50 * time.Minute)
			before := p.cut.Load()
			if before == 0 || before > 6 || p.dark() > 0 {
				t.Errorf("cut %d times in an hour, left %v", before, p.off)
			}
			ok(t, r.SetDrivers(all, nil))
			time.Sleep(time.Minute)
			stop()
			if n := p.cut.Load(); n != before+1 {
				t.Errorf("cut %d times, then %d with drivers that may be better", before, n)
			}
		})
	}
}

// stuck is plugs of which one cannot be switched off.
type stuck struct {
	plugs
	cut atomic.Int32 // how often others were
}

func (s *stuck) Switch(ctx context.Context, t driver.Target, on bool) error {
	if !on && t.Port == "stuck" {
		return driver.Refusal{Err: fault.Failedf("it is locked")}
	}
	if !on {
		s.cut.Add(1)
	}
	return s.plugs.Switch(ctx, t, on)
}

// Who gave an order and has gone leaves it to the server, whatever became of the clock since.
func TestOrdersAreFollowedWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		var back atomic.Int64
		r.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		stop := r.run(t)
		synctest.Wait()
		r.update(t, func(tx state.Tx) error {
			_, err := r.PowerOn(tx, macOf("n1"))
			back.Store(int64(24 * time.Hour))
			return err
		})
		time.Sleep(5 * time.Minute)
		stop()
		if p.dark() > 0 {
			t.Errorf("left %v", p.off)
		}
	})
}

func TestPowerIsNotOffForLong(t *testing.T) {
	t.Parallel()
	for _, s := range power.SupplySettings() {
		if s.Key != "power.off" {
			continue
		}
		for text, may := range map[string]bool{"1s": true, "1m": true, "61s": false, "999ms": false, "5m": false, "-1s": false} {
			if err := s.Set(&power.Supply{}, text); (err == nil) != may {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	if off := (power.Supply{Off: time.Hour}).OffTime(); off != time.Minute {
		t.Errorf("it is off for %v", off)
	}
}

// A node is on while one of its two supplies gives it power: who wants it on is told so, and
// nobody waits for the other one, which is switched on as soon as that goes.
func TestNodeIsOnWithoutADeadSupply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		good, other := &plugs{off: map[string]bool{}}, &plugs{off: map[string]bool{}}
		with := func(second driver.Means) {
			ok(t, r.SetDrivers([]driver.Driver{{Name: "good", Means: good}, {Name: "other", Means: second}}, nil))
		}
		with(other)
		ok(t, r.feed(t, "n1", "good:1+other:1"))
		ok(t, r.Execute(t.Context(), r.orderOff(t, "n1")))
		with(&plugs{off: map[string]bool{}, lost: true})
		stop := r.run(t)
		defer stop()
		var port power.Port
		r.update(t, func(tx state.Tx) (err error) {
			port, err = r.PowerCycle(tx, macOf("n1"))
			return err
		})
		err := r.Execute(t.Context(), port)
		const why = "other did not answer within 10s"
		if _, partly := errors.AsType[power.Partly](err); !partly || fault.Reason(err) != why || good.dark() > 0 {
			t.Errorf("%v, %v", err, good.off)
		}
		if r.order(t, func(tx state.Tx) (power.Port, error) { return r.Wake(tx, macOf("n1")) }) {
			t.Error("who uses it waits for its other supply")
		}
		report, err := r.Report(t.Context())
		ok(t, err)
		if s := report.Ports[0]; s.Power != "on" || s.Error != why {
			t.Errorf("%+v", s)
		}
		with(other)
		time.Sleep(time.Minute)
		if other.dark() > 0 {
			t.Errorf("left %v", other.off)
		}
		ok(t, r.feed(t, "n1", "good:1"))
	})
}

// What could not be done is told on when the node has its power, until that can be done.
func TestWhatWentWrongIsToldOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1)
		p := r.newPlugs(t, "n1")
		cycle := func() error {
			var port power.Port
			r.update(t, func(tx state.Tx) (err error) {
				port, err = r.PowerCycle(tx, macOf("n1"))
				return err
			})
			return r.Execute(t.Context(), port)
		}
		p.lost = true
		if err := cycle(); err == nil {
			t.Fatal("it is rebooted")
		}
		p.lost = false
		stop := r.run(t)
		time.Sleep(time.Minute)
		stop()
		const why = "rack did not answer within 10s"
		ago := func(time.Time) string { return "1 minute ago" }
		if s := r.report(t).Ports[0]; s.Power != "on" || s.Error != "" || s.Trouble(ago) != why+" (1 minute ago)" {
			t.Errorf("%+v", s)
		}
		ok(t, cycle())
		if s := r.report(t).Ports[0]; s.Last.Why != "" {
			t.Errorf("after it was rebooted: %+v", s)
		}
	})
}
