package nodes

import (
	"context"
	"iter"
	"unique"

	"walt/power"
)

// likeness is what devices have in common whose rows in a table are as wide, but for
// their names and their ports.
type likeness struct {
	traits unique.Handle[Traits]
	state  State
	ip     int // how long the address is, in characters
}

// Outline visits those of the devices that make the columns of a table as wide as all of
// them do: where many are alike it leaves out most, so that a long table begins soon.
func (l List) Outline(ctx context.Context) iter.Seq2[*DeviceStatus, error] {
	longest, last, seen := 0, likeness{}, map[likeness]bool{}
	var page []Glance
	return inPages(l.which, func(to []DeviceStatus, some []uint32) (_ []DeviceStatus, err error) {
		if page, err = l.glances(ctx, page[:0], some); err != nil {
			return to, err
		}
		err = l.lab.Ports.Wiring(ctx, func(w power.Wiring) {
			bare := w.Bare()
			for i := range page {
				n := &page[i]
				like := likeness{n.Traits, n.State, n.ip}
				longer := len(n.Name) > longest
				if !longer && like == last && bare {
					continue
				}
				if longer || !seen[like] || !w.Port(n.device.MAC).IsZero() {
					to = append(to, DeviceStatus{Device: n.device})
				}
				longest = max(longest, len(n.Name))
				if n.Traits.Value().Kind != Switch { // whose states are in the store
					seen[like], last = true, like
				}
			}
		})
		if err != nil {
			return to, err
		}
		return to, l.lab.addStatus(ctx, to, l.scope)
	})
}
