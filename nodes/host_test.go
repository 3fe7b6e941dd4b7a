package nodes

import (
	"encoding/json"
	"testing"
)

// TestHostOfRows reads rows of before there were kinds of hosts, and of today.
func TestHostOfRows(t *testing.T) {
	for row, want := range map[string]HostKind{
		`{"name":"rpi-3","kind":"node"}`:                    Physical,
		`{"name":"rpi-3","kind":"node","virtual":true}`:     Simulated,
		`{"name":"rpi-3","kind":"node","host":"simulated"}`: Simulated,
	} {
		var d Device
		ok(t, json.Unmarshal([]byte(row), &d))
		if d.Host != want || d.Name != "rpi-3" {
			t.Errorf("%s is %s on a host %s, want %s", row, d.Name, d.Host, want)
		}
		again, err := json.Marshal(d)
		ok(t, err)
		var same Device
		if err := json.Unmarshal(again, &same); err != nil || same.Host != want {
			t.Errorf("%s became %s (%v)", row, again, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"host":"qemu"}`), new(Device)); err == nil {
		t.Error("a host that there is none of was accepted")
	}
}
