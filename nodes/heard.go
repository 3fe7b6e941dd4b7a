package nodes

import (
	"slices"
	"sync"
	"time"

	"walt/auth"
)

const (
	// toldAgain is after how long an owner is told once more that somebody waits for the same.
	toldAgain = 10 * time.Minute
	// toldAnHour is how often within an hour an owner is told of one who waits.
	toldAnHour = 10
	// heardAtMost is of how many pairs of owners and who waits for their nodes that is known.
	heardAtMost = 10_000
)

// heard is what owners were told of who waits for their nodes: who waits and gives up again and
// again does not disturb them as often. It is in memory alone. The zero heard is nothing.
type heard struct {
	mu  sync.Mutex
	all map[hearsay][]telling
}

// hearsay is a user of whom an owner is told.
type hearsay struct{ owner, of auth.Name }

// telling is that an owner was told what somebody waits for.
type telling struct {
	what string
	at   time.Time
}

// enough reports whether the owner was told that, or much of that user, lately.
func (h *heard) enough(who hearsay, what string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.lately(who, now)
	return len(all) >= toldAnHour || slices.ContainsFunc(all, func(t telling) bool { return t.what == what && now.Sub(t.at) < toldAgain })
}

// lately returns what the owner was told within an hour.
func (h *heard) lately(who hearsay, now time.Time) []telling {
	all := h.all[who]
	for len(all) > 0 && now.Sub(all[0].at) >= time.Hour {
		all = all[1:]
	}
	return all
}

// add notes what owners were told.
func (h *heard) add(owners map[auth.Name]bool, of auth.Name, what string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil || len(h.all) > heardAtMost {
		h.all = map[hearsay][]telling{}
	}
	for owner := range owners {
		who := hearsay{owner, of}
		h.all[who] = append(slices.Clip(h.lately(who, now)), telling{what, now})
	}
}
