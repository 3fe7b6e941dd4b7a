package nodes

import (
	"context"
	"iter"
	"slices"

	"walt/ethernet"
	"walt/state"
)

// candidate is a free node that may be given to somebody.
type candidate struct {
	Device
	readiness
}

// someFree returns n available nodes that are wanted, nil for any: first those that the
// change has freed, then those that are the readiest, and of these the ones that were used
// the longest ago; fewer than n when there are no more. The power of a port that is off is
// not looked at: who gets the node gets its power.
//
// They are picked from the pool and a snapshot. The transaction reads and conflicts with
// no others than those that it takes.
func (c *change) someFree(ctx context.Context, n int, wanted func(*Device) bool) (found []candidate, err error) {
	l := c.lab
	for _, d := range c.freed {
		if found, err = appendFree(found, c.tx, d, startable, wanted); err != nil || len(found) == n {
			return found, err
		}
	}
	taken := len(found)
	by, err := read(ctx, l.view, l.view.pool.list)
	if err != nil {
		return nil, err
	}
	powered := map[*Device]bool{} // of those that are untold: these are startable
	for how := range readiness(len(by)) {
		ds := by[how].which(wanted)
		if how == startable {
			first, err := l.powered(ctx, by[untold].which(wanted), n)
			if err != nil {
				return nil, err
			}
			for _, d := range first {
				powered[d] = true
			}
			ds = merged(first, ds)
		}
		for d := range ds {
			if how == untold && powered[d] || isAmong(found[:taken], d.Name) {
				continue
			}
			if found, err = appendFree(found, c.tx, d, how, wanted); err != nil || len(found) == n {
				return found, err
			}
		}
	}
	return found, nil
}

// powered returns the first n of the nodes that have a port that the server may work.
func (l *Lab) powered(ctx context.Context, ds iter.Seq[*Device], n int) (first []*Device, err error) {
	macs, err := state.Read(ctx, l.Store, func(r state.Reader) ([]ethernet.MAC, error) {
		return l.Ports.FirstControlled(r, n, func(yield func(ethernet.MAC) bool) {
			for d := range ds {
				if !yield(d.MAC) {
					return
				}
			}
		})
	})
	if err != nil || len(macs) == 0 {
		return nil, err
	}
	for d := range ds {
		if d.MAC == macs[0] {
			if first, macs = append(first, d), macs[1:]; len(macs) == 0 {
				break
			}
		}
	}
	return first, nil
}

// merged is both in their order: those first that were used the longest ago.
func merged(some []*Device, others iter.Seq[*Device]) iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		rest := some
		for d := range others {
			for len(rest) > 0 && longestAgo(rest[0], d) < 0 {
				if !yield(rest[0]) {
					return
				}
				rest = rest[1:]
			}
			if !yield(d) {
				return
			}
		}
		for _, d := range rest {
			if !yield(d) {
				return
			}
		}
	}
}

func isAmong(some []candidate, n Name) bool {
	return slices.ContainsFunc(some, func(c candidate) bool { return c.Name == n })
}

// appendFree adds a node of the view, unless it is not available any more, or not wanted.
func appendFree(found []candidate, tx state.Tx, d *Device, how readiness, wanted func(*Device) bool) ([]candidate, error) {
	now, known, err := devices.Find(tx, string(d.Name))
	if err != nil || !known || !now.available() || wanted != nil && !wanted(&now) {
		return found, err
	}
	return append(found, candidate{now, how}), nil
}
