package nodes

import (
	"errors"
	"fmt"
	"testing"

	"walt/fault"
	"walt/power"
	"walt/state"
)

// TestSettingsOfMany shows what was just changed of one among many devices, of one that is
// connected to a switch, and of the switch itself, and reads no more of the store for many
// than for few.
func TestSettingsOfMany(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	reads := &countedReads{Store: l.Store}
	l.Store = reads
	var before int
	for _, n := range []int{pageSize, 2 * pageSize} {
		l.populate(t, n)
		_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
			sw := Device{Name: "sw", MAC: "02:00:00:ff:00:01", Kind: Switch}
			d, err := get(tx, "n-7")
			d.Own, d.Host = &Settings{Rescue: true, RAM: n}, Simulated
			other, more := get(tx, "n-8")
			return errors.Join(err, more, put(tx, sw), l.Ports.Configure(tx, sw.MAC, power.Switch{PoE: true}), put(tx, d),
				l.Ports.Connect(tx, "alice", other.MAC, power.Port{Switch: sw.MAC, Number: 4}))
		})
		ok(t, err)
		ok(t, l.view.Read(t.Context(), func() {}))
		ok(t, l.Ports.Wiring(t.Context(), func(power.Wiring) {}))
		reads.n = 0
		all, err := l.Settings(t.Context(), "alice", parse("all-devices"), false, nil)
		ok(t, err)
		outline, widest := 0, 0
		for s, err := range all.Outline() {
			ok(t, err)
			outline++
			widest = max(widest, len(s.Device)+len(s.Key))
		}
		if want := len(fmt.Sprintf("n-%d", n-1) + "snmp.auth-protocol"); widest != want || outline > 50 {
			t.Errorf("the outline tells %d settings, with %d characters at most, want %d", outline, widest, want)
		}
		shown := map[string]string{}
		for s, err := range all.Each(t.Context()) {
			ok(t, err)
			shown[string(s.Device)+" "+s.Key] = s.Value
		}
		for what, want := range map[string]string{
			"n-7 ram": fmt.Sprintf("%dM", n), "n-7 boot.rescue": "on", "n-6 switch": "none", "n-8 switch": "sw", "n-8 port": "4", "n-9 switch": "none", "sw type": "switch",
			"sw poe.reboots": "true", fmt.Sprintf("n-%d boot.retries", n-1): "9",
		} {
			if got := shown[what]; got != want {
				t.Errorf("%s of %d: %q, want %q", what, n, got, want)
			}
		}
		if len(shown) != 17*(n-1)+11+14 { // of nodes, the one that is virtual, and the switch
			t.Errorf("%d settings of %d nodes", len(shown), n)
		}
		if before != 0 && reads.n > before {
			t.Errorf("%d rows of the store were read for %d nodes, %d before", reads.n, n, before)
		}
		before = reads.n
		if before == 0 || before > 20 {
			t.Errorf("%d rows of the store were read for %d nodes", before, n)
		}
	}
}

// TestSetsOfAll are found without a look at what they select.
func TestSetsOfAll(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	find := func(set string, sc scope) (names []Name, err error) {
		found, err := l.show(t.Context(), "alice", parse(set), sc)
		for name := range found.Names() {
			names = append(names, name)
		}
		return names, err
	}
	for _, sc := range []scope{nodeScope, deviceScope} {
		for _, set := range []string{"all-nodes", "all-devices"} {
			if _, err := find(set, sc); fault.As(err) == nil || fault.As(err).Msg != fmt.Sprintf("the set %q is empty", set) {
				t.Errorf("%s without any: %v", set, err)
			}
		}
	}
	l.node(t, "n-1", "m1")
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		return put(tx, Device{Name: "sw", MAC: "02:00:00:ff:00:01", Kind: Switch})
	})
	ok(t, err)
	for _, c := range []struct {
		set  string
		sc   scope
		want []Name
	}{
		{"all-nodes", nodeScope, []Name{"n-1"}},
		{"all-devices", nodeScope, []Name{"n-1"}},
		{"all-nodes", deviceScope, []Name{"n-1"}},
		{"all-devices", deviceScope, []Name{"n-1", "sw"}},
		{"all-devices,sw", deviceScope, []Name{"n-1", "sw"}},
	} {
		found, err := find(c.set, c.sc)
		ok(t, err)
		equal(t, c.set, found, c.want...)
	}
}
