package power_test

import (
	"maps"
	"testing"

	"walt/ethernet"
	"walt/fault"
	"walt/power/snmp"
	"walt/state"
)

// What a switch calls its ports is kept when it is explored or asked, as long as
// the switch is there, and whether it answers again or not.
func TestPortNames(t *testing.T) {
	t.Parallel()
	r := newRoom(t, 1)
	sw := macOf("sw1")
	named := func(want map[int]string) {
		t.Helper()
		got, err := state.Read(t.Context(), r.Store, func(reader state.Reader) (map[int]string, error) { return r.PortNames(reader, sw) })
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("names are %v, %v, want %v", got, err, want)
		}
	}
	err := r.LearnNames(t.Context(), sw)
	if f := fault.As(err); f == nil || f.Msg != "it tells no names of its ports" {
		t.Errorf("a switch without names: %v", err)
	}
	r.rig.Called["one:161"] = []snmp.PortName{{Port: 1, Name: "Gi1/0/1"}, {Port: 2, Name: "2"}, {Port: 3, Description: "third"}}
	_, _, err = r.Explore(t.Context(), "alice", []ethernet.MAC{sw})
	ok(t, err)
	named(map[int]string{1: "Gi1/0/1", 3: "third"})
	r.rig.Called["one:161"] = []snmp.PortName{{Port: 1, Name: "Gi1/0/2"}}
	ok(t, r.LearnNames(t.Context(), sw))
	named(map[int]string{1: "Gi1/0/2"})
	r.rig.Refuse("one:161", errSilent)
	if err := r.LearnNames(t.Context(), sw); fault.As(err) == nil {
		t.Errorf("a silent switch: %v", err)
	}
	_, _, err = r.Explore(t.Context(), "alice", []ethernet.MAC{sw})
	ok(t, err)
	named(map[int]string{1: "Gi1/0/2"})
	r.update(t, func(tx state.Tx) error { return r.Forget(tx, sw) })
	named(nil)
}
