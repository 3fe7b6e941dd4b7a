package power_test

import (
	"testing"
	"testing/synctest"
	"time"

	"walt/power"
	"walt/state"
)

// order writes an order and has it carried out; it reports whether there was any.
func (r *room) order(t testing.TB, write func(state.Tx) (power.Port, error)) bool {
	t.Helper()
	var port power.Port
	r.update(t, func(tx state.Tx) (err error) {
		port, err = write(tx)
		return err
	})
	if port.IsZero() {
		return false
	}
	ok(t, r.Execute(t.Context(), port))
	return true
}

func (r *room) off(t testing.TB, name string) power.Off {
	t.Helper()
	var why power.Off
	var off bool
	ok(t, r.Store.View(t.Context(), func(reader state.Reader) (err error) {
		why, off, err = r.Off(reader, macOf(name))
		return err
	}))
	if off != !why.Since.IsZero() {
		t.Errorf("%s: %+v, off %t", name, why, off)
	}
	return why
}

// What a user switches off stays off, whoever would wake it or save its power, until
// somebody wants it on; a port as well as a virtual node.
func TestSwitchedOffByAUser(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 1)
	r.put(t, power.Device{Name: "v1", Node: true, Virtual: true})
	dark := func() (n int) {
		if n = len(r.rig.Dark()); len(r.switched) > 0 && r.switched[len(r.switched)-1] == string(macOf("v1"))+" false" {
			n++
		}
		return n
	}
	for i, c := range []struct {
		name    string
		virtual bool
	}{{"n1", false}, {"v1", true}} {
		mac := macOf(c.name)
		if !r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOff(tx, mac, c.virtual, "alice") }) || dark() != 1 {
			t.Fatalf("%s was not switched off: %v, %v", c.name, r.rig.Dark(), r.switched)
		}
		first := r.off(t, c.name)
		r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOff(tx, mac, c.virtual, "bob") })
		if again := r.off(t, c.name); first.By != "alice" || again != first {
			t.Errorf("%s: %+v, then %+v", c.name, first, again)
		}
		if r.order(t, func(tx state.Tx) (power.Port, error) { return r.Wake(tx, mac) }) || dark() != 1 {
			t.Errorf("%s was woken", c.name)
		}
		r.update(t, func(tx state.Tx) error { return r.PowerCycleSoon(tx, mac) })
		if r.off(t, c.name).By != "alice" {
			t.Errorf("%s is to start", c.name)
		}
		if !r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOn(tx, mac) }) || dark() != 0 || r.off(t, c.name) != (power.Off{}) {
			t.Errorf("%s was not switched on: %v, %v", c.name, r.rig.Dark(), r.switched)
		}
		if r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOn(tx, mac) }) {
			t.Errorf("%s is switched on twice", c.name)
		}
		if want := 3 * i; len(r.switched) != want {
			t.Errorf("virtual nodes: %v", r.switched)
		}
	}
	if r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOff(tx, macOf("elsewhere"), false, "alice") }) {
		t.Error("there is no port for it")
	}
	// What was off to save power is off for a user then.
	r.SetIdle(time.Nanosecond)
	_, err := r.OrderOff(t.Context())
	ok(t, err)
	ok(t, r.Execute(t.Context(), r.port(t, "n1")))
	r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOff(tx, macOf("n1"), false, "bob") })
	if r.off(t, "n1").By != "bob" || r.order(t, func(tx state.Tx) (power.Port, error) { return r.Wake(tx, macOf("n1")) }) {
		t.Error("it is woken, though a user wants it off")
	}
}

// Machines that nobody needs are switched off as ports are; other virtual nodes are not.
func TestIdleMachines(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 0)
	for _, name := range []string{"vm1", "sim1"} {
		r.put(t, power.Device{Name: name, Node: true, Virtual: true, Idle: true, Since: time.Now()})
	}
	r.update(t, func(tx state.Tx) error { return power.AddMachine(tx, macOf("vm1")) })
	r.SetIdle(time.Hour)
	_, err := r.OrderOff(t.Context())
	ok(t, err)
	if r.off(t, "vm1") != (power.Off{}) {
		t.Error("it was used just now")
	}
	r.SetIdle(time.Nanosecond)
	_, err = r.OrderOff(t.Context())
	ok(t, err)
	if why := r.off(t, "vm1"); why.Since.IsZero() || why.By != "" || r.off(t, "sim1") != (power.Off{}) {
		t.Errorf("%+v, %+v", why, r.off(t, "sim1"))
	}
	machines := func() (n int) {
		ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
			on, err := power.Machines(reader)
			n = len(on)
			return err
		}))
		return n
	}
	tells := func(power string) {
		t.Helper()
		report, err := r.Report(t.Context())
		ok(t, err)
		if all := report.Ports; len(all) != 1 || all[0].Node != "vm1" || all[0].Switch != "" || all[0].Power != power || report.Saved > 0 {
			t.Errorf("the report is %+v, want that it is %s", report, power)
		}
	}
	if tells("to be off"); machines() != 0 {
		t.Error("the machine is on")
	}
	if !r.order(t, func(tx state.Tx) (power.Port, error) { return r.Wake(tx, macOf("vm1")) }) {
		t.Error("it is not woken")
	}
	equal(t, "switched", r.switched, string(macOf("vm1"))+" true")
	if tells("on"); machines() != 1 {
		t.Errorf("%d machines are on", machines())
	}
	// Nothing is left of one that is removed.
	r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOff(tx, macOf("vm1"), true, "alice") })
	tells("off")
	r.update(t, func(tx state.Tx) error { return r.Forget(tx, macOf("vm1")) })
	if r.off(t, "vm1") != (power.Off{}) || machines() != 0 {
		t.Error("something is left of it")
	}
}

// Who wants a node on that drivers feed has it on, though nothing is ordered of it: its outlets
// went off by hand, or the store is an older one than they are.
func TestSurelyOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 2)
		p := r.newPlugs(t, "n1")
		p.off["n1a"], p.off["n1b"] = true, true
		surely := func(name string) bool {
			return r.order(t, func(tx state.Tx) (power.Port, error) { return r.SwitchOn(tx, macOf(name)) })
		}
		if r.order(t, func(tx state.Tx) (power.Port, error) { return r.PowerOn(tx, macOf("n1")) }) || p.asked > 0 {
			t.Error("it was switched on, and nobody is sure that it is off")
		}
		if !surely("n1") || p.dark() > 0 {
			t.Errorf("it is off: %v", p.off)
		}
		if surely("n2") {
			t.Error("a port of a switch is on unless something is ordered of it")
		}
	})
}
