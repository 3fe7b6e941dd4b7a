//go:build linux

package main

import (
	"testing"
	"time"
)

// A machine that is slow is waited for as long as it works; one that has nothing to do
// is not.
func TestQuiet(t *testing.T) {
	if got := busyTime("cpu  100 1 20 5000 30 2 3 4 100 7\ncpu0 9 9 9 9\n"); got != 1600*time.Millisecond {
		t.Errorf("busy for %v", got)
	}
	for name, c := range map[string]struct {
		share time.Duration // of a hundred
		want  bool
	}{"works": {90, false}, "waits": {60, false}, "has nothing to do": {10, true}} {
		var p quiet
		over := false
		for now := 20 * time.Second; now < 3*time.Minute; now += 100 * time.Millisecond {
			if over = p.at(now, now*c.share/100); over {
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
