//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// A clock that is wrong is set, also when something claims to keep it right; not for ever
// when that insists, and not for what it took to hear the time.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	const s = time.Second
	log := &record{}
	c := clock{log: log}
	for i, step := range []struct {
		wrong, took time.Duration
		claims, set bool
	}{
		{wrong: s / 4},
		{wrong: -s, set: true},
		{wrong: 5 * s, took: 6 * s},
		{wrong: -7 * s, took: 6 * s, set: true},
		{wrong: s / 2, claims: true},
		{wrong: 3600 * s, claims: true, set: true}, // what had claimed it is gone: it stays right
		{claims: true},
		{wrong: 3600 * s, claims: true, set: true},
		{}, // set, and what sets it back takes its time
		{wrong: -2 * s, claims: true, set: true},
		{},
		{wrong: 3 * s, claims: true, set: true},
		{wrong: 3 * s, claims: true},
		{wrong: 3 * s, claims: true},
		{wrong: 3 * s, set: true}, // it claims nothing any more
	} {
		if got := c.sets(step.wrong, step.took, step.claims); got != step.set {
			t.Errorf("%d: %+v: it is set: %v", i, step, got)
		}
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "the clock is 3s ahead of the server's") {
		t.Errorf("the log says %q", got)
	}
}
