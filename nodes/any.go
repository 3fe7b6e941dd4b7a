package nodes

import (
	"context"
	"slices"

	"walt/ethernet"
	"walt/images"
	"walt/state"
)

// candidate is a free node that may be given to somebody.
type candidate struct {
	Device
	readiness
}

// someFree returns n free nodes of a model, or of any when it is "": those that
// are the readiest, and of these the ones that were used the longest ago; fewer
// than n when there are no more. The power of a port that is off is not looked
// at: who gets the node gets its power.
//
// They are picked from the pool and a snapshot. The transaction reads and conflicts with
// no others than those that it takes.
func (l *Lab) someFree(ctx context.Context, tx state.Tx, n int, model images.Model) (found []candidate, err error) {
	by, err := read(ctx, l.view, func() byReadiness { return l.view.pool.list(model) })
	if err != nil {
		return nil, err
	}
	for how := range readiness(len(by)) {
		if how == startable {
			if err := l.promote(ctx, &by, n); err != nil {
				return nil, err
			}
		}
		for _, d := range by[how] {
			if found, err = appendFree(found, tx, d, how); err != nil || len(found) == n {
				return found, err
			}
		}
	}
	return found, nil
}

// promote makes those that are off and have a port that the server may work startable, the
// first n of them.
func (l *Lab) promote(ctx context.Context, by *byReadiness, n int) error {
	powered, err := state.Read(ctx, l.Store, func(r state.Reader) ([]ethernet.MAC, error) {
		return l.Ports.FirstControlled(r, n, func(yield func(ethernet.MAC) bool) {
			for _, d := range by[untold] {
				if !yield(d.MAC) {
					return
				}
			}
		})
	})
	if err != nil || len(powered) == 0 {
		return err
	}
	by[untold] = slices.DeleteFunc(by[untold], func(d *Device) bool {
		if len(powered) == 0 || d.MAC != powered[0] {
			return false
		}
		powered, by[startable] = powered[1:], append(by[startable], d)
		return true
	})
	slices.SortFunc(by[startable], longestAgo)
	return nil
}

// appendFree adds a node of the view, unless it is not free any more.
func appendFree(found []candidate, tx state.Tx, d *Device, how readiness) ([]candidate, error) {
	now, known, err := devices.Find(tx, string(d.Name))
	if err != nil || !known || now.Kind != Node || !now.Free() || now.Model != d.Model {
		return found, err
	}
	return append(found, candidate{now, how}), nil
}
