package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"walt/fault"
)

// Badger writes through mappings of files that are longer than what the disk
// holds of them: where the disk has no room for a page, the system kills the
// process, whatever it looked at before. So no commit begins while there is
// little room, and the blocks of the log that takes the commits, and of the one
// after it, are reserved before they are written. The tables that badger makes
// of a log that is full cannot be: while it does, spare files are watched over,
// which give their blocks back the moment that the disk is full.
const (
	// floor is how many bytes must be free for a commit.
	floor = 32 << 20
	// spares is how many files of spareSize bytes there are: some tables' worth.
	spares    = 4
	spareSize = memTableSize
	// logSize is how far badger writes a log: it begins the next one before the
	// first transaction that comes when memTableSize bytes are in it, and one
	// transaction is no more than a sixth of that. The file itself is longer.
	logSize = memTableSize + memTableSize/4
	// brim is how many free bytes are a full disk.
	brim = 1 << 20
	// glance is how often the disk is looked at while tables are in the making.
	glance = time.Millisecond
	// blockSize is how many bytes the system counts as a block of a file.
	blockSize = 512
)

// space watches over the disk of a store.
type space struct {
	dir   string // of the store
	logs  string // the directory of badger's logs
	free  func(dir string) (uint64, error)
	tells *slog.Logger // the server's log; nil for none

	mu    sync.Mutex
	held  int         // spare files that hold their blocks
	log   string      // the log that takes the commits, or the one before
	found os.FileInfo // what it was
	next  string      // the one after it, reserved
	short bool        // there was no room to reserve them
	full  bool        // there was too little room for a commit
	fails error       // why no table could be made of a log; nil when it could
}

func newSpace(dir, logs string) *space {
	return &space{dir: dir, logs: logs, free: freeSpace}
}

// check returns a fault when the disk has no room for a commit. A nil space has
// no limit.
func (s *space) check() error {
	if s == nil {
		return nil
	}
	free, err := s.free(s.dir)
	if err == nil {
		err = s.inPlace()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Failedf("the data in %s was removed under the running server; nothing was changed, and nothing will be", s.dir).
			WithHint("stop the server and restore a backup")
	}
	if err != nil {
		return fault.Failedf("the data in %s cannot be reached any more: %v; nothing was changed", s.dir, err).
			WithHint("look after the disk and who may read that; reading still works")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil && !s.flushed() {
		return fault.Failedf("the disk of %s takes no new files: %v; nothing was changed", s.dir, s.fails).
			WithHint("look after the disk; reading still works")
	}
	s.fails = nil
	if s.short {
		if err := s.reserveLogs(); err != nil {
			return cannot("write to", s.dir, err)
		}
		free, err = s.free(s.dir)
	}
	needed := uint64(floor)
	if s.short {
		needed += logSize
	}
	s.tell(err == nil && free < needed, free, needed)
	if err != nil || free < needed {
		return fault.Failedf("the disk of %s is nearly full: %d MiB are free, %d MiB are needed; nothing was changed", s.dir, free>>20, needed>>20).
			WithHint("free some space there; reading still works")
	}
	if s.held < spares && free >= floor+spareSize {
		if allocate(s.spare(s.held), spareSize) == nil {
			s.held++
		}
	}
	return nil
}

// tell has the log say when the disk gets too full for commits, and when it no longer is.
func (s *space) tell(full bool, free, needed uint64) {
	if s.tells != nil && full && !s.full {
		s.tells.Error("the disk is nearly full: no changes until there is room", "dir", s.dir, "free_mib", free>>20, "needed_mib", needed>>20)
	}
	if s.tells != nil && !full && s.full {
		s.tells.Info("the disk has room again", "dir", s.dir)
	}
	s.full = full
}

// unwritten notes that badger could not make a table of a log. It tries again, and commits
// that fill its memory until it can would wait for that: so there are none.
func (s *space) unwritten(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

// flushed reports whether all logs are tables but the one that takes the commits.
func (s *space) flushed() bool {
	logs, err := usedLogs(s.logs)
	return err == nil && len(logs) <= 1
}

// inPlace returns an error when the log that takes the commits is not where the next
// start looks for it: what is written to a file that was removed is lost then. It is
// fs.ErrNotExist also when another file is there.
func (s *space) inPlace() error {
	s.mu.Lock()
	log, found, next := s.log, s.found, s.next
	s.mu.Unlock() // the others, who look too, do not wait for it
	if found == nil {
		return nil
	}
	now, err := os.Stat(log)
	switch {
	case err == nil && os.SameFile(now, found):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if next, err := os.Stat(next); err == nil && next.Size() > 0 { // it became a table
		return nil
	}
	return fs.ErrNotExist
}

// prepare makes what room there is for badger to open the store, which makes
// tables of the logs of a crash. A disk that is full otherwise is no reason not
// to start: reading works.
func (s *space) prepare() error {
	s.release()
	free, err := s.free(s.dir)
	if err == nil && free < floor {
		return fault.Failedf("the disk of %s is full: %d MiB are free, %d MiB are needed to start", s.dir, free>>20, floor>>20).
			WithHint("free some space there")
	}
	return err
}

func (s *space) spare(i int) string { return filepath.Join(s.dir, fmt.Sprintf("spare-%d", i)) }

// release gives all spare blocks back.
func (s *space) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = 0
	for i := range spares {
		os.Remove(s.spare(i)) // one that is not there, or cannot be removed, gives nothing back
	}
}

// committed is called after each round of commits, and reports whether it was the first of
// the next log: then tables are being made of the one before.
func (s *space) committed() (full bool) {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, err := os.Stat(s.next); err != nil || info.Size() == 0 {
		return false
	}
	if s.reserveLogs() != nil {
		s.short = true // the next check tries again
	}
	return true
}

// guardTables gives tables that are being made their blocks at once, and gives
// spare blocks back as soon as the disk is full, until end is called.
func (s *space) guardTables() (end func()) {
	unwatch, err := created(s.logs, allocateTable)
	if err != nil {
		unwatch = func() {}
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // ends with stop
		tick := time.NewTicker(glance)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.spareAtBrim()
			}
		}
	})
	return func() {
		close(stop)
		watch.Wait()
		unwatch()
	}
}

// spareAtBrim gives the blocks of one spare file back if the disk is full.
func (s *space) spareAtBrim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if free, err := s.free(s.dir); err == nil && free < brim && s.held > 0 {
		s.held--
		os.Remove(s.spare(s.held))
	}
}

// reserve gives the newest log, and the one after it, all their blocks. When the disk
// has no room for that, nothing is written until it has.
func (s *space) reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserveLogs()
}

// reserveLogs is reserve for who holds the mutex. Badger takes an empty file of the name
// of a log for its own.
func (s *space) reserveLogs() error {
	logs, err := findLogs(s.logs)
	if err != nil {
		return err
	}
	var last int
	for _, l := range logs {
		if l.size > 0 {
			last = max(last, l.number)
		}
	}
	s.log, s.next = logPath(s.logs, last), logPath(s.logs, last+1)
	if s.found, err = os.Stat(s.log); err != nil {
		return err
	}
	err = s.reserveLog(s.log)
	if err == nil {
		err = s.reserveLog(s.next)
	}
	s.short = errors.Is(err, errShort)
	if s.short {
		return nil
	}
	return err
}

// errShort is the error of reserveLog when the disk has no room for a log.
var errShort = errors.New("no room for a log")

// reserveLog leaves as much of the disk as a start needs.
func (s *space) reserveLog(file string) error {
	if info, err := os.Stat(file); err == nil && info.Sys().(*syscall.Stat_t).Blocks*blockSize >= logSize {
		return nil // it was reserved before
	}
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if free < floor+logSize {
		return errShort
	}
	err = allocate(file, logSize)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) { // of a quota, or others were faster
		return errShort
	}
	return err
}
