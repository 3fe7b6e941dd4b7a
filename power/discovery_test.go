package power_test

import (
	"slices"
	"strings"
	"testing"

	"walt/ethernet"
	"walt/power"
	"walt/power/snmp"
	"walt/state"
)

func TestExplore(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 4)
	r.rig.Hurried = true
	r.addSwitch(t, "sw2", "two:161")
	for _, n := range []string{"n1", "n2", "n3"} {
		r.plug(t, n, "", 0)
	}
	see := func(address string, port int, source snmp.Source, behind int, names ...string) {
		for _, n := range names {
			r.rig.Seen[address] = append(r.rig.Seen[address], snmp.Neighbour{Port: port, MAC: string(macOf(n)), Source: source, Behind: behind})
		}
	}
	explore := func() (told []power.Exploration, moves []string) {
		t.Helper()
		told, all, err := r.Explore(t.Context(), "alice", []ethernet.MAC{macOf("sw1"), macOf("sw2")})
		ok(t, err)
		for _, m := range all {
			moves = append(moves, strings.TrimSpace(m.Device+" "+m.Where))
		}
		slices.Sort(moves)
		return told, moves
	}
	see("one:161", 9, snmp.LLDP, 7, "sw2") // the cable between the switches
	see("one:161", 9, snmp.Bridge, 7, "n1", "n2", "n4")
	see("one:161", 3, snmp.Bridge, 2, "n3")
	see("two:161", 1, snmp.Bridge, 1, "n1")
	see("two:161", 2, snmp.LLDP, 3, "n2")
	see("two:161", 4, snmp.Bridge, 1, "n4", "stranger")
	told, moves := explore()
	equal(t, "moves", moves, "n1 port 1 of sw2", "n2 port 2 of sw2", "n3 port 3 of sw1", "sw2 port 9 of sw1")
	if p := r.port(t, "n4"); p.Number != 4 || p.Switch != macOf("sw1") {
		t.Errorf("what was set by hand changed: %+v", p)
	}
	if len(told) != 2 || told[1].Strange != 1 || told[1].Seen != 4 {
		t.Errorf("told: %+v", told)
	}

	// Who is seen where another one was takes its place. What shares a port is not
	// powered by it, as far as can be told.
	r.rig.Seen["one:161"], r.rig.Seen["two:161"] = nil, nil
	see("two:161", 1, snmp.Bridge, 1, "n2")
	see("two:161", 5, snmp.Bridge, 2, "n1", "n3")
	_, moves = explore()
	equal(t, "moves", moves, "n1 port 5 of sw2", "n2 port 1 of sw2", "n3 port 5 of sw2")
	r.rig.Seen["two:161"] = nil
	see("two:161", 1, snmp.Bridge, 1, "n1")
	_, moves = explore()
	equal(t, "moves", moves, "n1 port 1 of sw2", "n2")
	if p := r.port(t, "n2"); !p.IsZero() {
		t.Errorf("whose place was taken: %+v", p)
	}
	r.rig.Seen["two:161"] = nil
	see("two:161", 1, snmp.Bridge, 1, "n2")
	see("two:161", 5, snmp.Bridge, 2, "n1", "n3")
	explore()
	var cycled []bool
	r.update(t, func(tx state.Tx) error {
		cycled = nil
		for _, n := range []string{"n1", "n2"} {
			port, err := r.PowerCycle(tx, macOf(n))
			ok(t, err)
			cycled = append(cycled, !port.IsZero())
		}
		return nil
	})
	equal(t, "power cycles", cycled, false, true)

	// One that is silent is said to be, and changes nothing.
	see("one:161", 7, snmp.Bridge, 1, "n3")
	r.rig.Refuse("two:161", errSilent)
	told, moves = explore()
	if len(moves) != 0 || told[1].Err == nil || r.port(t, "n1").Switch != macOf("sw2") {
		t.Errorf("moves %v, told %+v", moves, told)
	}
	ok(t, r.Store.View(t.Context(), func(reader state.Reader) error {
		for sw, want := range map[string]power.Contact{"sw1": {Address: "one:161"}, "sw2": {Address: "two:161", Why: errSilent.Msg}} {
			c, err := r.Contact(reader, macOf(sw))
			ok(t, err)
			if c.Address != want.Address || c.Why != want.Why || c.Heard.IsZero() {
				t.Errorf("%s: %+v", sw, c)
			}
		}
		return nil
	}))
}
