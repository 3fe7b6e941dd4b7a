package nodes

import (
	"context"
	"slices"

	"walt/images"
	"walt/state"
)

// readiness is how likely a node is to be of use soon.
type readiness int

const (
	ready       readiness = iota // it is up
	startable                    // it is booting, or the server can start it
	untold                       // it is off, for all that is known, and has to be switched on by hand
	unreachable                  // it should be up, and does not answer, or could not boot
)

// readiness of a node, whoever owns it.
func (l *Lab) readiness(r state.Reader, d Device) (readiness, error) {
	switch l.status.of(d.Name).State {
	case Up:
		return ready, nil
	case Unreachable, Failed:
		return unreachable, nil
	case Booting:
		return startable, nil
	}
	if can, err := l.canRestart(r, d); err != nil || can {
		return startable, err
	}
	return untold, nil
}

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
// They are picked from the view. The transaction reads and conflicts with no others
// than those that it takes.
func (l *Lab) someFree(ctx context.Context, tx state.Tx, n int, model images.Model) ([]candidate, error) {
	all, err := read(ctx, l.view, func() []*Device { return slices.Clone(l.view.free) })
	if err != nil {
		return nil, err
	}
	var found []candidate
	var later []candidate               // those that the server can start
	var rest [unreachable + 1][]*Device // the others that are not up, by their readiness
	for _, d := range all {
		if model != "" && d.Model != model || l.status.of(d.Name).State != Up {
			continue
		}
		if found, err = appendFree(found, tx, d, ready); err != nil || len(found) == n {
			return found, err
		}
	}
	for _, d := range all {
		if model != "" && d.Model != model {
			continue
		}
		how, err := l.readiness(tx, *d)
		if err != nil {
			return nil, err
		}
		if how > startable {
			rest[how] = append(rest[how], d)
		} else if later, err = appendFree(later, tx, d, how); err != nil || len(found)+len(later) == n {
			return append(found, later...), err
		}
	}
	found = append(found, later...)
	for how := untold; how <= unreachable; how++ {
		for _, d := range rest[how] {
			if found, err = appendFree(found, tx, d, how); err != nil || len(found) == n {
				return found, err
			}
		}
	}
	return found, nil
}

// appendFree adds a node of the view, unless it is not free any more.
func appendFree(found []candidate, tx state.Tx, d *Device, how readiness) ([]candidate, error) {
	now, known, err := devices.Find(tx, string(d.Name))
	if err != nil || !known || now.Kind != Node || !now.Free() || now.Model != d.Model {
		return found, err
	}
	return append(found, candidate{now, how}), nil
}
