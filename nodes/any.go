package nodes

import (
	"cmp"
	"slices"

	"walt/auth"
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
func (l *Lab) someFree(r state.Reader, n int, model images.Model) ([]candidate, error) {
	all, err := ownedBy(r, auth.Nobody)
	if err != nil {
		return nil, err
	}
	var free []candidate
	for _, d := range all {
		if model != "" && d.Model != model {
			continue
		}
		how, err := l.readiness(r, d)
		if err != nil {
			return nil, err
		}
		free = append(free, candidate{d, how})
	}
	slices.SortStableFunc(free, func(a, b candidate) int { // natural order among equals
		return cmp.Or(cmp.Compare(a.readiness, b.readiness), a.Since.Compare(b.Since))
	})
	return free[:min(n, len(free))], nil
}
