package power_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"walt/ethernet"
	"walt/power"
	"walt/state"
)

// BenchmarkWiring asks for the ports of 10,000 devices that are connected to switches
// with 48 ports each.
func BenchmarkWiring(b *testing.B) {
	const ports, switches = 48, 10_000/48 + 1
	r := newRoom(b, 0)
	var devices []ethernet.MAC
	for i := range switches {
		sw := fmt.Sprintf("rack%d", i)
		r.addSwitch(b, sw, sw+":161")
		for port := range ports {
			name := fmt.Sprintf("n%d", i*ports+port)
			r.plug(b, name, sw, port+1)
			devices = append(devices, macOf(name))
		}
	}
	for b.Loop() {
		ok(b, r.Wiring(b.Context(), func(w power.Wiring) {
			for _, mac := range devices {
				if port := w.Port(mac); port.IsZero() {
					b.Fatal(mac, "is not connected")
				} else if _, off := w.Off(mac); off {
					b.Fatal(mac, "is off")
				}
			}
		}))
	}
}

// The wiring is what the store says after each change: devices are plugged in, to
// another port or switch, and out, and ports lose their power and get it back.
func TestWiringFollows(t *testing.T) {
	t.Parallel()
	const devices, switches = 6, 3
	r := newRoom(t, devices)
	for i := 2; i <= switches; i++ {
		r.addSwitch(t, fmt.Sprintf("sw%d", i), "other:161")
	}
	r.SetIdle(time.Nanosecond)
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 200 {
		name := fmt.Sprintf("n%d", 1+random.IntN(devices))
		switch random.IntN(4) {
		case 0:
			r.plug(t, name, "", 0)
		case 1:
			_, err := r.OrderOff(t.Context())
			ok(t, err)
		case 2:
			r.update(t, func(tx state.Tx) error {
				_, err := r.PowerOn(tx, macOf(name))
				return err
			})
		default:
			r.plug(t, name, fmt.Sprintf("sw%d", 1+random.IntN(switches)), 1+random.IntN(4))
		}
		for i := range devices {
			mac := macOf(fmt.Sprintf("n%d", i+1))
			off, err := state.Read(t.Context(), r.Store, func(reader state.Reader) (bool, error) { return r.IsOff(reader, mac) })
			ok(t, err)
			where, err := state.Read(t.Context(), r.Store, func(reader state.Reader) (string, error) { return r.Where(reader, mac) })
			ok(t, err)
			ok(t, r.Wiring(t.Context(), func(w power.Wiring) {
				port := w.Port(mac)
				if _, is := w.Off(mac); is != off {
					t.Errorf("step %d: n%d is off: %v, the store says %v", step, i+1, is, off)
				}
				if port.IsZero() != (where == "") || !port.IsZero() && macOf(where[len(where)-len("sw1"):]) != port.Switch {
					t.Errorf("step %d: n%d is connected to %v, the store says %q", step, i+1, port, where)
				}
			}))
		}
	}
}
