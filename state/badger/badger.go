// Package badger keeps a store of package state in a directory, or in memory,
// with the database Badger. It knows of keys and bytes, not of tables. Its one
// surprising rule: one process has a directory open at a time, and a second one
// is refused.
package badger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"walt/fault"
	"walt/state"
)

// Store is a state.Store. What Update reported as done survives a kill at any
// moment, unless it is in memory.
//
// Conflicts are found among the keys that were read (recent.go). The first run of an
// update is optimistic, many at once; after a conflict the next run has the
// store for itself, so that a key that everybody wants is passed on in turn.
// A closure therefore must not call Update.
type Store struct {
	db      *badger.DB
	watches state.Watches
	turns   sync.RWMutex // read-locked by first runs, locked by those after a conflict
	commits commits
	recent  *recent
	disk    *rounds     // nil in memory
	space   *space      // nil in memory
	tables  *compaction // nil in memory
	lost    atomic.Bool // badger has nothing to write into, and panics when it is asked for anything
	lock    *os.File    // the directory, locked for this process; nil in memory

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // transactions; grows only while !closed, under mu
}

// OpenMemory returns an empty store that keeps nothing on disk. Its tables are not merged:
// it is for little, and badger's own compactors would fill the hours of a bubble of time.
func OpenMemory() (*Store, error) {
	db, err := badger.Open(tuned("").WithInMemory(true).WithNumLevelZeroTablesStall(math.MaxInt))
	if err != nil {
		return nil, fmt.Errorf("open a store in memory: %w", err)
	}
	return &Store{db: db, recent: newRecent()}, nil
}

// memTableSize is how many bytes of changes badger holds in memory, and in a
// log, before it makes a table of them. It decides how large a transaction may be:
// a command may change ten thousand nodes. Badger allocates that memory at once,
// but the system gives it only what is written to.
const memTableSize = 32 << 20

// tuned are badger's options for a small store. Values stay beside their keys,
// so that the value log never needs collecting; sync.go synchronises what is
// written. The mode of checksum
// verification stays at its default: the others panic on damage or call it a
// missing key.
func tuned(dir string) badger.Options {
	return badger.LSMOnlyOptions(dir).
		WithLogger(nil).
		WithSyncWrites(false).
		WithDetectConflicts(false). // recent.go does
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(mergeFrom - 1). // that badger leaves as they are
		WithNumLevelZeroTablesStall(stallFrom).
		WithNumCompactors(0). // compact.go says why
		WithNumGoroutines(2).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithValueLogFileSize(16 << 20).
		WithCompactL0OnClose(true).
		WithMetricsEnabled(false)
}

// View runs f on a snapshot.
func (b *Store) View(ctx context.Context, f func(state.Reader) error) (err error) {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.running.Done()
	defer b.catch(&err)
	s := b.snapshot(ctx, false)
	defer s.txn.Discard()
	return f(s)
}

// snapshot begins a transaction of badger, which reads until ctx ends.
func (b *Store) snapshot(ctx context.Context, update bool) snapshot {
	at := b.commits.visible() // first: badger's may see more
	return snapshot{reader{txn: b.db.NewTransaction(update), ctx: ctx}, b.recent, at}
}

// Update runs f and commits what it wrote, as state.Store says.
func (b *Store) Update(ctx context.Context, f func(state.Tx) error) (v state.Version, err error) {
	if err := b.begin(ctx); err != nil {
		return 0, err
	}
	defer b.running.Done()
	defer b.catch(&err)
	if err := b.disk.works(); err != nil {
		return 0, err
	}
	under := b.disk.setOut()
	own, err := b.apply(ctx, f)
	if own == nil {
		b.disk.leave(under)
		b.commits.settle() // what it read, and says by that, lasts
		return 0, cmp.Or(b.disk.works(), err)
	}
	first, seen := false, err == nil // by who reads, even if it may not last
	if seen {
		first, err = b.disk.wait(under)
	} else {
		b.disk.leave(under)
	}
	b.commits.end(own, seen, b.watches.Notify)
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	if first && b.space.committed() { // of others who came at that time nobody needs to look
		b.tables.begin()
	}
	return own.version, nil
}

// apply runs f, again while it conflicts, and has badger write what it wrote,
// which is not yet on disk then. The commit is nil if there is none; beside one, an
// error says that badger did not write it.
func (b *Store) apply(ctx context.Context, f func(state.Tx) error) (*commit, error) {
	own, err := b.amongOthers(ctx, f)
	if !errors.Is(err, errConflict) {
		return own, err
	}
	b.turns.Lock()
	defer b.turns.Unlock()
	for errors.Is(err, errConflict) {
		own, err = b.attempt(ctx, f)
	}
	return own, err
}

// amongOthers is the first attempt.
func (b *Store) amongOthers(ctx context.Context, f func(state.Tx) error) (*commit, error) {
	b.turns.RLock()
	defer b.turns.RUnlock() // also when f panics: who comes later does not wait for ever
	return b.attempt(ctx, f)
}

// catch makes an error of a panic of badger that it announced.
func (b *Store) catch(err *error) {
	if !b.lost.Load() {
		return // without recovering
	}
	if recover() != nil {
		*err = b.disk.works()
	}
}

// errConflict means that nothing was written, and that what was read may no longer be true.
var errConflict = errors.New("conflict")

// attempt runs f once. Its error may be errConflict.
func (b *Store) attempt(ctx context.Context, f func(state.Tx) error) (*commit, error) {
	t := newTx(b.snapshot(ctx, true))
	defer t.txn.Discard()
	if err := f(t); err != nil {
		return nil, err
	}
	if err := t.finish(); err != nil { // perhaps of a write, and f overlooked it
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(t.changed) == 0 {
		return nil, nil
	}
	if err := b.space.check(); err != nil {
		return nil, err
	}
	own, written := b.commits.begin(t)
	if own == nil {
		return nil, errConflict
	}
	err := <-written
	if err != nil { // of a log that cannot be begun, after others of a batch were written
		b.lost.Store(true)
		said, _, _ := strings.Cut(err.Error(), "\n") // badger goes on, about the same
		err = b.disk.fail(errors.New(said))
		b.recent.drop(own.changed)
	}
	b.commits.wrote(own)
	return own, err
}

// Limit is the most that one transaction may write.
func (b *Store) Limit() state.Limit { return limit }

// Watch observes every later commit that touches a key with one of the prefixes.
func (b *Store) Watch(prefixes ...string) *state.Watch {
	w := b.watches.Add(prefixes...)
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		w.Close()
	}
	return w
}

// Verify checks the checksums of the tables on disk. Reading a record checks its
// own, but damage may hide records.
func (b *Store) Verify() error { return b.db.VerifyChecksum() }

// Close waits for running transactions, ends every Watch and closes the store.
// A second Close does nothing.
func (b *Store) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	b.running.Wait()
	b.watches.Close()
	err := b.closeDB()
	b.disk.close()
	if b.lock != nil {
		err = errors.Join(err, release(b.lock))
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// closing is how long badger may take to make tables when it is closed.
const closing = 15 * time.Second

// closeDB has badger make tables of its logs, unless the disk has no room for
// them, or failed: then it is left as a crash would, with all that was committed in
// its logs. So it is when badger does not come to an end: it tries again for ever.
func (b *Store) closeDB() error {
	b.tables.close()
	switch {
	case b.space == nil: // in memory, where no disk is waited for
		return b.db.Close()
	case b.space.check() != nil, b.disk.works() != nil:
		return nil
	}
	return inTime(func() error { return closeBadger(b.db, b.space) })
}

// closeBadger has badger make tables of its logs, and removes these. A kill or a disk
// that fails meanwhile leaves a store without a log, which then is no damage: so the
// store counts as closed before that begins.
func closeBadger(db *badger.DB, space *space) error {
	if err := setOpen(space.dir, false); err != nil {
		return err // all is in the logs
	}
	end := space.guardTables()
	err := db.Close()
	end()
	if err == nil {
		space.release()
		err = removeEmpty(space.logs)
	}
	return err
}

// inTime returns what end does, or an error when that takes too long.
func inTime(end func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- end() }() // ends with the process at the latest
	select {
	case err := <-ended:
		return err
	case <-time.After(closing):
		return fault.Failedf("the disk took none of its files for %v; all changes are in its logs", closing).
			WithHint("look after the disk; the next start goes on from there")
	}
}

// begin counts a transaction that Close must wait for, unless ctx ended or the
// store is closed.
func (b *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return state.ErrClosed
	}
	b.running.Add(1)
	return nil
}

// commits sends transactions to badger one after the other, but does not wait
// for the disk in between, and reports them in the order in which they took
// effect.
type commits struct {
	mu      sync.Mutex
	last    state.Version // of the commit that was sent last
	writing []*commit     // sent and perhaps not yet written, in commit order
	queue   []*commit     // sent and not yet reported, in commit order
	seen    atomic.Uint64 // the version up to which all are written, so that snapshots see them
}

type commit struct {
	version state.Version
	changed []state.Row
	written bool          // or failed
	ended   bool          // durable or failed; what nobody sees has changed nil
	told    chan struct{} // closed when it was reported
}

// begin sends a transaction to badger, unless it is in conflict: then there is no commit.
// written receives when others see it, or why not.
func (c *commits) begin(t *tx) (own *commit, written <-chan error) {
	done := make(chan error, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.recent.commit(t.read, t.at, c.last+1, t.changed) {
		return nil, nil
	}
	c.last++
	own = &commit{version: c.last, changed: t.changed, told: make(chan struct{})}
	c.writing, c.queue = append(c.writing, own), append(c.queue, own)
	t.txn.CommitWith(func(err error) { done <- err })
	return own, done
}

// wrote notes that badger has written a commit, or failed to.
func (c *commits) wrote(own *commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own.written = true
	for len(c.writing) > 0 && c.writing[0].written {
		c.seen.Store(uint64(c.writing[0].version))
		c.writing = c.writing[1:]
	}
}

// visible is the last commit such that a snapshot which begins now sees it and all
// before it.
func (c *commits) visible() state.Version { return state.Version(c.seen.Load()) }

// settle returns when all commits that were sent before are on disk, or failed.
func (c *commits) settle() {
	c.mu.Lock()
	var last *commit
	if n := len(c.queue); n > 0 {
		last = c.queue[n-1]
	}
	c.mu.Unlock()
	if last != nil {
		<-last.told
	}
}

// end notes that a commit is on disk, or failed, and returns when it was reported,
// as all before it. Notify is called with the changed rows of each, one call at a
// time: of one that failed, too, if it is seen. What is kept in memory then says the same
// as the store.
func (c *commits) end(own *commit, seen bool, notify func(state.Version, []state.Row)) {
	c.mu.Lock()
	own.ended = true
	if !seen {
		own.changed = nil
	}
	for len(c.queue) > 0 && c.queue[0].ended {
		notify(c.queue[0].version, c.queue[0].changed)
		close(c.queue[0].told)
		c.queue = c.queue[1:]
	}
	c.mu.Unlock()
	<-own.told
}
