package remote

import (
	"context"
	"errors"
	"testing"
)

func TestVisitors(t *testing.T) {
	t.Parallel()
	var v Visitors
	gone := errors.New("gone")
	bob, bobLeaves := v.Enter(t.Context(), "n1", "bob")
	carol, carolLeaves := v.Enter(t.Context(), "n1", "carol")
	other, otherLeaves := v.Enter(t.Context(), "n2", "bob")
	v.Evict("n1", "carol", gone)
	if context.Cause(bob) != gone || carol.Err() != nil || other.Err() != nil {
		t.Errorf("bob's session: %v, carol's: %v, that on another node: %v", context.Cause(bob), carol.Err(), other.Err())
	}
	end := v.Present("n1")
	late, lateLeaves := v.Enter(t.Context(), "n1", "alice")
	end(gone)
	if context.Cause(carol) != gone || late.Err() != nil || v.Present("n3") != nil {
		t.Errorf("carol's session: %v, of who came later: %v", context.Cause(carol), late.Err())
	}
	lateLeaves()
	bobLeaves()
	if !v.Any("n1") {
		t.Error("carol is not on n1 any more")
	}
	carolLeaves()
	otherLeaves()
	if v.Any("n1") || v.Any("n2") || len(v.on) > 0 {
		t.Errorf("left are %v", v.on)
	}
}
