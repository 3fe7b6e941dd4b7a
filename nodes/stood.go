package nodes

import "time"

const (
	// standLimit is how late the server may be before it is taken to have stood still.
	standLimit = 5 * time.Second
	// standEvery is how often it looks whether it did while it waits for nodes.
	standEvery = 15 * time.Second
)

// stood reports whether the server stood still, as while its host was suspended: it was
// to go on when it was due. What nodes did meanwhile it could not hear.
func stood(due, now time.Time) bool { return now.Sub(due) > standLimit }

// postpone gives nodes that should be up soon so much more time.
func (b *board) postpone(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.all {
		if !s.late.IsZero() {
			s.late = s.late.Add(d)
		}
	}
}
