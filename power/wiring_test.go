package power_test

import (
	"fmt"
	"slices"
	"testing"

	"walt/ethernet"
	"walt/power"
	"walt/state"
)

// BenchmarkWiring asks for the ports of devices, in labs whose switches have 48
// ports each, all of them connected.
func BenchmarkWiring(b *testing.B) {
	const ports = 48
	for _, switches := range []int{0, 3, 200} {
		r := newRoom(b, 0)
		for i := range switches {
			sw := fmt.Sprintf("rack%d", i)
			r.addSwitch(b, sw, sw+":161")
			for port := range ports {
				r.plug(b, fmt.Sprintf("n%d", i*ports+port), sw, port+1)
			}
		}
		for _, n := range []int{1, 10, 100, 1000, 10_000} {
			var devices []ethernet.MAC
			for i := range n {
				devices = append(devices, macOf(fmt.Sprintf("n%d", i)))
			}
			b.Run(fmt.Sprintf("switches=%d/devices=%d", switches, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					w, err := state.Read(b.Context(), r.Store, func(reader state.Reader) (power.Wiring, error) { return r.Wiring(reader, devices) })
					ok(b, err)
					connected := slices.ContainsFunc(devices, func(mac ethernet.MAC) bool { return !w.Port(mac).IsZero() })
					if connected != (switches > 0) {
						b.Fatal(connected)
					}
				}
			})
		}
	}
}

// counting counts what is read one by one.
type counting struct {
	state.Reader
	gets *int
}

func (c counting) Get(key string) ([]byte, error) {
	*c.gets++
	return c.Reader.Get(key)
}

// Where devices are connected is the same however it is read: by device when
// they are few for the switches of the lab, and by switch when they are many.
func TestWiring(t *testing.T) {
	t.Parallel()
	const connected = 20
	for _, test := range []struct{ switches, devices, gets int }{
		{1, 10, 10},
		{1, 100, 0},
		{10, 100, 100},
	} {
		r := newRoom(t, connected)
		for i := 1; i < test.switches; i++ {
			sw := fmt.Sprintf("other%d", i)
			r.addSwitch(t, sw, sw+":161")
			r.plug(t, "on-"+sw, sw, 1)
		}
		var devices []ethernet.MAC
		for i := range test.devices {
			devices = append(devices, macOf(fmt.Sprintf("n%d", i+1)))
		}
		gets := 0
		w, err := state.Read(t.Context(), r.Store, func(reader state.Reader) (power.Wiring, error) {
			return r.Wiring(counting{reader, &gets}, devices)
		})
		ok(t, err)
		if gets != test.gets {
			t.Errorf("%d devices and %d switches: %d rows were read one by one, want %d", test.devices, test.switches, gets, test.gets)
		}
		for i, mac := range devices {
			want := power.Port{}
			if i < connected {
				want = power.Port{Switch: macOf("sw1"), Number: i + 1}
			}
			if got := w.Port(mac); got != want {
				t.Errorf("%d devices and %d switches: n%d is connected to %v, want %v", test.devices, test.switches, i+1, got, want)
			}
		}
	}
}
