package nodes

import (
	"encoding/json"
	"testing"
)

func TestHostOfRows(t *testing.T) {
	for row, want := range map[string]HostKind{
		`{"name":"rpi-3"}`:                    Physical,
		`{"name":"rpi-3","host":"simulated"}`: Simulated,
		`{"name":"vm1","host":"qemu"}`:        QEMU,
	} {
		var d Device
		ok(t, json.Unmarshal([]byte(row), &d))
		if d.Host != want || d.Virtual() != (want != Physical) {
			t.Errorf("%s is on a host %s, want %s", row, d.Host, want)
		}
	}
	if err := json.Unmarshal([]byte(`{"host":"xen"}`), new(Device)); err == nil {
		t.Error("a host that there is none of was accepted")
	}
}
