package nodes

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/power"
	"walt/state"
)

// TestOutline has the outline of many devices be as wide in all columns as all of them,
// which are connected, up at addresses of many lengths, off or of other kinds, and be of few.
func TestOutline(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	const n = 5 * pageSize
	l.populate(t, n)
	widths := func(found iter.Seq2[*DeviceStatus, error]) (all []int, visited int) {
		for d, err := range found {
			ok(t, err)
			visited++
			for i, cell := range []string{
				string(d.Name), string(d.Kind), string(d.Model), string(d.MAC), d.IP(), string(d.Switch), fmt.Sprint(d.Port.Number, d.PortName), string(d.State),
			} {
				if i == len(all) {
					all = append(all, 0)
				}
				all[i] = max(all[i], len(cell))
			}
		}
		return all, visited
	}
	check := func(what string, most int) {
		t.Helper()
		all, err := l.AllDevices(t.Context())
		ok(t, err)
		want, _ := widths(all.Each(t.Context()))
		got, visited := widths(all.Outline(t.Context()))
		if !slices.Equal(got, want) || visited > most {
			t.Errorf("%s: the outline is %v wide, want %v, and visits %d devices, %d at most", what, got, want, visited, most)
		}
	}
	check("all alike", 3) // n-0, n-10, n-100
	for i := range n / 2 {
		l.status.set(Name(fmt.Sprintf("n-%d", i)), Up, fmt.Sprintf("10.0.%d.%d:22", i/100, i%100))
	}
	l.status.set("n-7", Unreachable, "[2001:db8::7]:2222")
	l.status.set("n-900", Booting, "")
	check("up", 10)
	ok(t, l.PowerOff(t.Context(), "bob", parse("n-*"), false, consent.Agreement{}, func(Change) {}))
	check("off", 10)
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		sw := Device{Name: "sw", MAC: "02:00:00:ff:00:01", Kind: Switch}
		long, err := get(tx, "n-999")
		return errors.Join(err, put(tx, sw), l.Ports.Configure(tx, sw.MAC, power.Switch{PoE: true}),
			l.Ports.Connect(tx, "alice", "02:00:00:00:00:08", power.Port{Switch: sw.MAC, Number: 4}),
			remove(tx, long), put(tx, Device{Name: Name(strings.Repeat("x", 40)), MAC: long.MAC, Kind: Unknown, Model: "a-model-of-its-own"}))
	})
	ok(t, err)
	check("connected, and of other kinds", 14)
}

// BenchmarkOutline looks at what makes a table of 100,000 nodes wide.
func BenchmarkOutline(b *testing.B) {
	l := newLab(b, nil)
	l.populate(b, 100_000)
	all, err := l.AllDevices(b.Context())
	ok(b, err)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range all.Outline(b.Context()) {
			ok(b, err)
		}
	}
}
