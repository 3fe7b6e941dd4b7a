package nodes

import (
	"fmt"
	"time"
)

// A machine that reboots by itself soon after it was up, again and again, costs the server
// a boot and the log two lines each time: after some it starts after pauses that double.
const (
	hastyTime  = 10 * time.Minute // what is soon after it was up
	hastyFree  = 3                // so often it does so without a pause
	firstPause = 10 * time.Second
	mostPause  = 5 * time.Minute
)

// hastily is how often in a row a node will have rebooted by itself soon after it was up
// when it does so now.
func (s Status) hastily(now time.Time) int {
	switch {
	case s.came.IsZero(): // it was not up
		return s.hasty
	case now.Sub(s.came) >= hastyTime:
		return 0
	}
	return s.hasty + 1
}

// pauseAfter is for how long a machine rests that did so as often.
func pauseAfter(hasty int) time.Duration {
	if hasty <= hastyFree {
		return 0
	}
	return min(firstPause<<min(hasty-hastyFree-1, 10), mostPause)
}

// calm returns for how long a machine that is about to start is to wait before, and says so
// where its users look.
func (l *Lab) calm(n Name) (pause time.Duration) {
	l.status.change(n, func(s *Status) {
		if pause = pauseAfter(s.hasty); pause > 0 && s.State == Booting && s.due {
			s.Why = fmt.Sprintf("%s, %d times in a row soon after it was up: it starts after a pause of %v (at once with: node reboot %s)", s.Why, s.hasty, pause, n)
		}
	})
	return pause
}
