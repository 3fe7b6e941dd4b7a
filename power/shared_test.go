package power_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/power"
	"walt/power/driver"
	"walt/state"
)

func macsOf(names ...string) (all []ethernet.MAC) {
	for _, n := range names {
		all = append(all, macOf(n))
	}
	return all
}

// strips are those of the nodes, in words.
func (r *room) strips(t testing.TB, names ...string) (found []power.Strip, words []string) {
	t.Helper()
	ok(t, r.Store.View(t.Context(), func(reader state.Reader) (err error) {
		found, err = r.Strips(reader, macsOf(names...))
		return err
	}))
	called := func(mac ethernet.MAC) string {
		for i := range 9 {
			if name := fmt.Sprintf("n%d", i+1); macOf(name) == mac {
				return name
			}
		}
		return string(mac)
	}
	for _, s := range found {
		line := ""
		for _, mac := range s.Nodes {
			line += called(mac) + " "
		}
		line += s.Outlets.String()
		for _, o := range s.Others {
			line += fmt.Sprintf("; %s with %s at %s keeps %s", called(o.Node), called(o.With), o.Outlets, o.Keeps)
		}
		words = append(words, line)
	}
	return found, words
}

func TestStrips(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 6)
	r.newPlugs(t)
	for name, outlets := range map[string]string{"n1": "rack:1", "n2": "rack:1", "n3": "rack:2", "n4": "rack:2+rack:3", "n5": "rack:3+rack:4", "n6": "rack:6"} {
		ok(t, r.feed(t, name, outlets))
	}
	for _, c := range []struct {
		nodes, want []string
	}{
		{[]string{"n6"}, nil},
		{[]string{"n1"}, []string{"n1 rack:1; n2 with n1 at rack:1 keeps "}},
		{[]string{"n2", "n6", "n1"}, []string{"n2 n1 rack:1"}},
		{[]string{"n3"}, []string{"n3 rack:2; n4 with n3 at rack:2 keeps rack:3"}},
		{[]string{"n3", "n5"}, []string{"n3 rack:2; n4 with n3 at rack:2 keeps rack:3", "n5 rack:3+rack:4; n4 with n5 at rack:3 keeps rack:2"}},
		{[]string{"n3", "n5", "n4", "n1"}, []string{"n3 n5 n4 rack:2+rack:3+rack:4", "n1 rack:1; n2 with n1 at rack:1 keeps "}},
	} {
		if _, got := r.strips(t, c.nodes...); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(c.want))) {
			t.Errorf("%v: %q, want %q", c.nodes, got, c.want)
		}
	}
}

// A shared outlet is nobody's to save, and is off only as long as all want that.
func TestSharedOutlets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 2)
		p := r.newPlugs(t, "n1")
		ok(t, r.feed(t, "n2", "rack:n1a"))
		controls := func(name string) (may bool) {
			ok(t, r.Store.View(t.Context(), func(reader state.Reader) (err error) {
				may, err = r.Controls(reader, macOf(name))
				return err
			}))
			return may
		}
		if controls("n1") || controls("n2") {
			t.Error("a shared outlet may be switched")
		}
		mayBeOff := func(names ...string) (err error) {
			_ = r.Store.View(t.Context(), func(reader state.Reader) error {
				err = r.MayBeOff(reader, macsOf(names...))
				return nil
			})
			return err
		}
		r.put(t, power.Device{Name: "n1", Node: true, Owner: "bob"})
		err := mayBeOff("n2")
		if f := fault.As(err); f == nil || f.Msg != "what feeds n2 (rack:n1a) feeds n1 of bob, too; nothing changed" || f.Hint != "switch off all that it feeds: node off n2,n1" {
			t.Errorf("%+v", err)
		}
		ok(t, mayBeOff("n2", "n1"))
		ports := []power.Port{r.orderOff(t, "n1"), r.orderOff(t, "n2")}
		for _, port := range ports {
			ok(t, r.Execute(t.Context(), port))
		}
		if p.dark() != 2 || r.off(t, "n1").By != "alice" || r.off(t, "n2").By != "alice" {
			t.Errorf("off are %v", p.off)
		}
		ok(t, mayBeOff("n2")) // n1 is off

		// Who wants one of them on has all on that hangs there.
		var port power.Port
		r.update(t, func(tx state.Tx) (err error) {
			if lit, err := r.Lit(tx, macsOf("n2")); err != nil || len(lit) != 1 || lit[0].Node != macOf("n1") {
				t.Errorf("with n2: %v, %v", lit, err)
			}
			port, err = r.PowerOn(tx, macOf("n2"))
			return err
		})
		ok(t, r.Execute(t.Context(), port))
		ok(t, r.Execute(t.Context(), ports[0])) // Run does
		if p.dark() != 0 || r.off(t, "n1") != (power.Off{}) || r.off(t, "n2") != (power.Off{}) {
			t.Errorf("off are %v, %+v", p.off, r.off(t, "n1"))
		}
		ok(t, r.feed(t, "n2", "none"))
		if !controls("n1") || controls("n2") {
			t.Errorf("n1 %t, n2 %t", controls("n1"), controls("n2"))
		}
	})
}

// cycleTogether orders that all outlets of some nodes are off for a moment.
func (r *room) cycleTogether(t testing.TB, asked bool, names ...string) (port power.Port) {
	t.Helper()
	strips, _ := r.strips(t, names...)
	r.update(t, func(tx state.Tx) (err error) {
		port, err = r.PowerCycleTogether(tx, strips[0], asked)
		return err
	})
	return port
}

// What somebody agreed to is what happens: at whichever request of a slow device one of the
// nodes changes, no outlet of it is cut that was not cut before, and none is left dark.
func TestNobodyIsCutUnasked(t *testing.T) {
	t.Parallel()
	const unattended = "a mate comes up, and nobody was asked"
	for what, does := range map[string]func(t testing.TB, r *room){
		"a mate is taken": func(t testing.TB, r *room) {
			r.put(t, power.Device{Name: "n2", Node: true, Owner: "carol", Since: time.Now()})
		},
		"the node is taken": func(t testing.TB, r *room) {
			r.put(t, power.Device{Name: "n1", Node: true, Owner: "carol", Since: time.Now()})
		},
		"a mate is given back": func(t testing.TB, r *room) {
			r.put(t, power.Device{Name: "n2", Node: true, Since: time.Now()})
		},
		"another is fed": func(t testing.TB, r *room) { ok(t, r.feed(t, "n3", "rack:n1b")) },
		unattended: func(t testing.TB, r *room) {
			r.put(t, power.Device{Name: "n2", Node: true, Owner: "bob", Up: true})
		},
	} {
		t.Run(what, func(t *testing.T) {
			did := 0
			for at, reached := 1, true; reached; at++ {
				synctest.Test(t, func(t *testing.T) {
					r := newRoom(t, 3)
					r.put(t, power.Device{Name: "n2", Node: true, Owner: "bob"})
					p := r.newPlugs(t, "n1")
					ok(t, r.feed(t, "n2", "rack:n1a+rack:n1b"))
					reached = false
					p.before = func(asked int) {
						if asked == at {
							reached = true
							does(t, r)
							p.needed = true
						}
					}
					port := r.cycleTogether(t, what != unattended, "n1")
					err := r.Execute(t.Context(), port)
					if err != nil {
						did++
						ok(t, r.Execute(t.Context(), port)) // what Run does then
					}
					if p.dark() > 0 || p.late > 0 || reached && at == 1 && err == nil {
						t.Errorf("at request %d: %v is off, %d were cut since; %v", at, p.off, p.late, err)
					}
				})
			}
			if did == 0 {
				t.Error("nothing was ever kept from being cut")
			}
		})
	}
}

// A server that is killed at whichever request leaves no outlet dark: the next one gives power
// back, and cuts nothing, since nobody agreed to that.
func TestKilledWhileSharedOutletsAreOff(t *testing.T) {
	t.Parallel()
	wasDark := 0
	for at, reached := 1, true; reached; at++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 2)
			p := r.newPlugs(t, "n1")
			ok(t, r.feed(t, "n2", "rack:n1a"))
			rows := map[string][]byte{} // that a kill leaves
			off := map[string]bool{}    // and outlets
			reached = false
			p.before = func(asked int) {
				if asked != at {
					return
				}
				reached = true
				maps.Copy(off, p.off)
				ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
					for row, err := range reader.Scan("", "") {
						if err != nil {
							return err
						}
						rows[row.Key] = bytes.Clone(row.Value)
					}
					return nil
				}))
			}
			ok(t, r.Execute(t.Context(), r.cycleTogether(t, true, "n1")))
			if !reached {
				return
			}
			time.Sleep(time.Second)
			next := newRoom(t, 0)
			next.update(t, func(tx state.Tx) error {
				for key, value := range rows {
					if err := tx.Put(key, value); err != nil {
						return err
					}
				}
				return nil
			})
			after := &plugs{off: off, needed: true}
			if after.dark() > 0 {
				wasDark++
			}
			ok(t, next.Drivers.Set([]driver.Driver{{Name: "rack", Means: after}}, nil))
			ctx, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			ok(t, next.Run(ctx))
			if after.dark() > 0 || after.late > 0 {
				t.Errorf("killed at request %d: %v is off, %d were cut after the start", at, after.off, after.late)
			}
		})
	}
	if wasDark == 0 {
		t.Error("no outlet was ever off when the server was killed")
	}
}

// What somebody agreed to is done, whatever the clock was set to since the server began.
func TestSharedOutletsAreCycledWhateverTheClockSays(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-24 * time.Hour, 0, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 2)
			p := r.newPlugs(t, "n1")
			ok(t, r.feed(t, "n2", "rack:n1a"))
			r.Now = func() time.Time { return time.Now().Round(0).Add(step) } // without what tells how long it runs
			cut := 0
			p.before = func(int) { cut = max(cut, p.dark()) }
			ok(t, r.Execute(t.Context(), r.cycleTogether(t, true, "n1")))
			if cut == 0 || p.dark() > 0 {
				t.Errorf("by a clock that is set by %v, %d were cut, left %v", step, cut, p.off)
			}
		})
	}
}

// Two cycles that would each leave a node one of its supplies do not take both at once.
func TestSuppliesAreNotCutAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 3)
		racks := map[string]*plugs{"left": {off: map[string]bool{}}, "right": {off: map[string]bool{}}}
		ok(t, r.Drivers.Set([]driver.Driver{{Name: "left", Means: racks["left"]}, {Name: "right", Means: racks["right"]}}, nil))
		ok(t, r.feed(t, "n1", "left:1"))
		ok(t, r.feed(t, "n2", "right:1"))
		ok(t, r.feed(t, "n3", "left:1+right:1"))
		dark := 0
		look := func(int) {
			if racks["left"].dark()+racks["right"].dark() == 2 {
				dark++
			}
		}
		racks["left"].before, racks["right"].before = look, look
		ended := make(chan error)
		for _, port := range []power.Port{r.cycleTogether(t, true, "n1"), r.cycleTogether(t, true, "n2")} {
			go func() { ended <- r.Execute(t.Context(), port) }()
		}
		ok(t, <-ended)
		ok(t, <-ended)
		if left, right := racks["left"].asked, racks["right"].asked; dark > 0 || left < 4 || right < 4 {
			t.Errorf("n3 was dark at %d of %d requests", dark, left+right)
		}
	})
}

// An outlet that feeds a node is not told again by another name, under which nobody would see
// that it is shared.
func TestSharedOutletHasOneName(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 2)
	p := &plugs{off: map[string]bool{}}
	ok(t, r.Drivers.Set([]driver.Driver{
		{Name: "rack", Means: p, Numbered: true, Realm: "snmp", Host: "10.9.0.2"},
		{Name: "pdus", Means: p, Hosted: true, Numbered: true, Realm: "snmp"},
	}, nil))
	ok(t, r.feed(t, "n1", "rack:7"))
	if err := r.feed(t, "n2", "pdus@10.9.0.2:07"); err == nil || fault.Line(err) != "pdus@10.9.0.2:7 is rack:7, which feeds n1; nothing changed; tell it by the same driver: power=rack:7" {
		t.Errorf("%v", err)
	}
	ok(t, r.feed(t, "n1", "pdus@10.9.0.2:7"))
	ok(t, r.feed(t, "n1", "rack:07"))
	ok(t, r.feed(t, "n2", "rack:007"))
	if _, words := r.strips(t, "n1"); len(words) != 1 {
		t.Errorf("n1 shares %v", words)
	}
}
