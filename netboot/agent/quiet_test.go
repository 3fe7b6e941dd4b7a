//go:build linux

package main

import (
	"testing"
	"time"
)

// A machine that is slow is waited for as long as it works; one that has nothing to do
// is not.
func TestQuiet(t *testing.T) {
	if idle, n := idleTime("cpu  100 1 20 5000 30 2 3 4 100 7\ncpu0 9 9 9 9 9\ncpu1 9 9 9 9 9\nintr 7 8 9 10 11\n"); idle != 50*time.Second || n != 2 {
		t.Errorf("%d processors were idle for %v", n, idle)
	}
	for name, c := range map[string]struct {
		processors int
		idle       func(now time.Duration) time.Duration
		want       bool
	}{
		"works":                         {1, func(now time.Duration) time.Duration { return now / 10 }, false},
		"waits":                         {1, func(now time.Duration) time.Duration { return now * 4 / 10 }, false},
		"works on one processor of two": {2, func(now time.Duration) time.Duration { return now * 12 / 10 }, false},
		"waits for a while again and again": {1, func(now time.Duration) time.Duration {
			return now/(40*time.Second)*20*time.Second + min(20*time.Second, now%(40*time.Second))
		}, false},
		"has nothing to do":                  {1, func(now time.Duration) time.Duration { return now * 9 / 10 }, true},
		"has nothing to do on either of two": {2, func(now time.Duration) time.Duration { return now * 19 / 10 }, true},
	} {
		var p quiet
		over := false
		for now := 20 * time.Second; now < 3*time.Minute; now += 100 * time.Millisecond {
			if over = p.at(now, c.idle(now), c.processors); over {
				if now < 20*time.Second+sshdQuiet {
					t.Errorf("%s: over after %v", name, now)
				}
				break
			}
		}
		if over != c.want {
			t.Errorf("a machine that %s: over %v", name, over)
		}
	}
	if p := new(quiet); p.over() {
		t.Error("over at once")
	}
}
