package badger

import (
	"fmt"
	"sync"
	"time"

	"walt/fault"
)

// floor is how much must be free, in bytes, for a write to be accepted. Badger
// maps its logs into memory, some 50 MB of them before they are full: a disk
// that has no room for them kills the process at a store to that memory.
const floor = 96 << 20

// space refuses writes while the disk of a directory is nearly full.
type space struct {
	dir  string
	free func(dir string) (uint64, error) // bytes
	now  func() time.Time

	mu   sync.Mutex
	next time.Time // when to look again
	err  error     // what the last look found
}

func newSpace(dir string) *space { return &space{dir: dir, free: freeSpace, now: time.Now} }

// check looks at most once a second. A nil space has no limit.
func (s *space) check() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); !now.Before(s.next) {
		s.next, s.err = now.Add(time.Second), s.look()
	}
	return s.err
}

func (s *space) look() error {
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	if free < floor {
		return fault.Failedf("the disk of %s is nearly full: %d MiB are free, %d MiB are needed; nothing was changed", s.dir, free>>20, floor>>20).
			WithHint("free some space there; reading still works")
	}
	return nil
}
