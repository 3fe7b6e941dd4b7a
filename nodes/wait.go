package nodes

import (
	"context"
	"slices"
	"time"

	"walt/images"
	"walt/state"
)

// Wait returns when every node of the set is up on the image that it should
// boot, calling progress with those that are not yet whenever that changed.
// When ctx ends first it returns the nodes that were not up, with ctx's error.
func (l *Lab) Wait(ctx context.Context, set Nodes, progress func(missing Nodes)) (Nodes, error) {
	same := func(a, b NodeState) bool { return a.Name == b.Name && a.State == b.State }
	var shown Nodes
	for {
		changed := l.status.next()
		missing, err := l.missing(ctx, set)
		if err != nil || len(missing) == 0 {
			return missing, err
		}
		if !slices.EqualFunc(missing, shown, same) {
			progress(missing)
			shown = missing
		}
		select {
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-changed:
		}
	}
}

func (l *Lab) missing(ctx context.Context, set Nodes) (Nodes, error) {
	return state.Read(context.WithoutCancel(ctx), l.Store, func(r state.Reader) (missing Nodes, err error) {
		for _, n := range set {
			d, err := get(r, n.Name)
			if err != nil {
				return nil, err
			}
			img, _, err := images.Find(r, d.Image)
			if err != nil {
				return nil, err
			}
			if s := l.status.of(d.Name); s.State != Up || d.Booted != img.Ref || d.Digest != img.Digest {
				missing = append(missing, NodeState{Device: d, Status: s})
			}
		}
		return missing, nil
	})
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
