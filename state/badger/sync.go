package badger

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"walt/fault"
)

// Badger would synchronise after each commit, one commit after the other, and its
// value log too, in which this store has nothing. So it is told not to, and a
// commit is reported only after a round of these: one synchronisation for all
// commits that were written before it began. While it runs, later ones gather for
// the next, which also waits for a moment for those that are under way.

// patience is for how long a round waits at most for updates that are under way. On a
// slow disk enough of them come while the round before runs.
const patience = time.Millisecond

// rounds make commits durable. A nil one has nothing to do: a store in memory.
type rounds struct {
	logs logSync
	disk sync.Mutex    // held by the round that runs
	took time.Duration // by the last synchronisation; of who holds disk
	most time.Duration // that a round waits for updates that are under way
	log  *slog.Logger  // nil for none

	mu     sync.Mutex
	next   *round   // has not begun; nil while nobody waits
	coming *arrival // of those who set out since the last round looked; nil for nobody
	failed error    // why nothing is written any more
}

// arrival counts updates that may come to wait.
type arrival struct {
	left int           // that are under way, guarded by the mutex of the rounds
	none chan struct{} // closed when there are none left; nil unless a round waits for that
}

type round struct {
	done chan struct{} // closed when it ended, with err
	err  error
}

func newRounds(dir string, log *slog.Logger) *rounds {
	return &rounds{logs: logSync{dir: dir, msync: unix.Msync}, most: patience, log: log}
}

// setOut notes that an update is under way, until it waits or leaves.
func (g *rounds) setOut() *arrival {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.coming == nil {
		g.coming = &arrival{}
	}
	g.coming.left++
	return g.coming
}

const lookAfterDisk = "look after the disk, then start the server again"

// works returns a fault once the disk failed. Then nothing is changed any more: the
// system may have dropped what it could not write, so what was read meanwhile may not be
// there after the next start.
func (g *rounds) works() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		return nil
	}
	return fault.Failedf("the disk of %s failed: %v; nothing was changed, and nothing will be", g.logs.dir, g.failed).
		WithHint(lookAfterDisk)
}

// fail notes that the disk failed and returns what to say of a change that was written.
func (g *rounds) fail(err error) error {
	if g == nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = err
		if g.log != nil {
			g.log.Error("the disk failed: no changes until the server starts again", "dir", g.logs.dir, "err", err)
		}
	}
	return fault.Failedf("the disk of %s failed: %v; whether this change lasts is not known, and there will be no others", g.logs.dir, g.failed).
		WithHint(lookAfterDisk)
}

// leave notes that an update which was under way has nothing to wait for.
func (g *rounds) leave(a *arrival) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.arrived(a)
}

// arrived takes an update off those that are under way. Its caller holds the mutex.
func (g *rounds) arrived(a *arrival) {
	if a.left--; a.left > 0 {
		return
	}
	if a.none != nil {
		close(a.none)
	}
	if g.coming == a {
		g.coming = nil
	}
}

// gather waits for the updates that are under way, but for none of them twice, and no
// longer than a synchronisation takes: so long one waits for the next that misses this
// one.
func (g *rounds) gather() {
	g.mu.Lock()
	a := g.coming
	if a != nil {
		g.coming, a.none = nil, make(chan struct{})
	}
	g.mu.Unlock()
	if a == nil {
		return
	}
	late := time.NewTimer(min(g.took, g.most))
	defer late.Stop()
	select {
	case <-a.none:
	case <-late.C:
	}
}

// wait returns when all that badger had written before the call is on disk, for an
// update that was under way until now, and whether it was the first of its round.
func (g *rounds) wait(a *arrival) (first bool, _ error) {
	if g == nil {
		return true, nil
	}
	g.mu.Lock()
	r := g.next
	first = r == nil
	if first {
		r = &round{done: make(chan struct{})}
		g.next = r
	}
	g.arrived(a) // now: a round that waited for it would begin without it
	g.mu.Unlock()
	if !first {
		<-r.done
		return false, r.err
	}
	g.disk.Lock()
	defer g.disk.Unlock()
	g.gather()
	g.mu.Lock()
	g.next = nil // who comes from now on may have written too late
	r.err = g.failed
	g.mu.Unlock()
	begun := time.Now()
	if r.err == nil {
		r.err = g.logs.sync()
	}
	if r.err != nil {
		r.err = g.fail(r.err)
	}
	g.took = time.Since(begun)
	close(r.done)
	return true, r.err
}

// begin is wait for a store that was just opened, to which nobody commits yet.
func (g *rounds) begin() error {
	g.disk.Lock()
	defer g.disk.Unlock()
	return g.logs.all()
}

// close ends what nobody waits for any more.
func (g *rounds) close() {
	if g != nil {
		g.logs.close()
	}
}

// logSync synchronises the logs in badger's directory.
//
// Badger fills one log after the other, and makes a table of each that is full;
// it synchronises the table before it removes the log.
type logSync struct {
	dir    string
	number int    // of the newest log that is known
	pages  []byte // of that log, mapped as badger maps it; nil while none is known
	noted  int    // the newest log that is noted as one with a commit
	msync  func(pages []byte, flags int) error
}

// sync has the disk take what is in the logs.
func (l *logSync) sync() error {
	number := l.number
	fresh := l.pages != nil && number > l.noted
	if fresh {
		used, err := holdsCommit(logPath(l.dir, number))
		fresh = err == nil && used
	}
	if err := l.all(); err != nil {
		return err
	}
	if fresh && noteLog(filepath.Dir(l.dir), number) == nil { // else the next time
		l.noted = number
	}
	return nil
}

func (l *logSync) all() error {
	later, err := l.later()
	if err != nil {
		return err
	}
	if l.pages != nil { // when there are later ones, nothing more comes into this one
		if err := l.msync(l.pages, unix.MS_SYNC); err != nil {
			return fmt.Errorf("synchronise %s: %w", logPath(l.dir, l.number), err)
		}
	}
	for _, log := range later {
		if err := l.follow(log); err != nil {
			return err
		}
	}
	if len(later) == 0 {
		return nil
	}
	return flush(l.dir) // their names
}

// later returns the logs that badger began after the last one that is known.
func (l *logSync) later() ([]logFile, error) {
	if l.pages != nil {
		next, err := os.Stat(logPath(l.dir, l.number+1))
		if err == nil && next.Size() == 0 { // reserved
			return nil, nil
		}
	}
	logs, err := findLogs(l.dir)
	return slices.DeleteFunc(logs, func(log logFile) bool {
		return log.size == 0 || l.pages != nil && log.number <= l.number
	}), err
}

// follow synchronises a log and takes it for the one that takes the commits.
func (l *logSync) follow(log logFile) error {
	f, err := os.OpenFile(log.path, os.O_RDWR, 0) // else Linux takes the mapping for one that has nothing to write
	if errors.Is(err, os.ErrNotExist) {           // it became a table
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	pages, err := unix.Mmap(int(f.Fd()), 0, int(log.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", log.path, err)
	}
	l.close()
	l.number, l.pages = log.number, pages
	if err := l.msync(pages, unix.MS_SYNC); err != nil {
		return fmt.Errorf("synchronise %s: %w", log.path, err)
	}
	return nil
}

func (l *logSync) close() {
	if l.pages != nil {
		_ = unix.Munmap(l.pages) // fails only for what is not mapped
		l.pages = nil
	}
}
