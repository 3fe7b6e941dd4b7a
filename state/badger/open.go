package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"walt/fault"
	"walt/state"
)

// A store's directory holds badger's own directory and a marker beside it. The
// marker and the schema row inside tell a store that lost its records, which
// badger would take for a new one, from a store that has none yet.
const (
	badgerDir  = "badger"
	markerFile = "format"
	schemaKey  = "\x00schema"
	schema     = "walt state 1\n" // content of both
)

// Open opens the store in the directory, which it makes if need be. It fails
// with a fault that names the directory when another process has it open, and
// when it is damaged or has lost its records. log gets badger's messages; nil
// drops them.
func Open(dir string, log *slog.Logger) (*Store, error) {
	lock, err := claim(dir)
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(dir, badgerDir)
	b := &Store{recent: newRecent(), space: newSpace(dir, logs), disk: newRounds(logs, log), lock: lock}
	b.space.tells = log
	if b.db, err = openClaimed(dir, b.space, b.disk, log); err != nil {
		return nil, errors.Join(err, release(lock))
	}
	b.tables = newCompaction(b.db, b.space)
	return b, nil
}

// claim makes the directory if need be and locks it for this process until
// release. It stands in for badger's own lock, which comes too late for what
// is checked before, and which a program started meanwhile keeps for a moment. Nor is a
// server that was killed gone at once: it takes the kernel some time to give its memory
// back, and the lock comes after that.
func claim(dir string) (*os.File, error) {
	limit := time.Now().Add(dying)
	return claimAgain(dir, func() bool {
		time.Sleep(dying / 100)
		return time.Now().Before(limit)
	})
}

// dying is for how long the end of another server is waited for.
const dying = 2 * time.Second

// claimAgain is claim, which tries again as long as that is wanted.
func claimAgain(dir string, again func() bool) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, cannot("open", dir, err)
	}
	lock, err := tryLock(dir)
	for errors.Is(err, errLocked) && again() {
		lock, err = tryLock(dir)
	}
	if errors.Is(err, errLocked) {
		return nil, fault.Failedf("the store %s is in use by another server", dir).
			WithHint("stop that server first, or choose another data directory")
	}
	return lock, err
}

// errLocked is the error of tryLock when another process has the lock.
var errLocked = errors.New("locked")

func tryLock(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, cannot("open", dir, err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, cannot("lock", dir, err)
}

func release(lock *os.File) error {
	return errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
}

func openClaimed(dir string, space *space, disk *rounds, log *slog.Logger) (*badger.DB, error) {
	marked, err := precheck(dir)
	if err != nil {
		return nil, err
	}
	crash, err := wasOpen(dir)
	if err != nil {
		return nil, cannot("open", dir, err)
	}
	if err := examine(dir, crash); fault.Disk(err) != nil {
		return nil, cannot("open", dir, err)
	} else if err != nil {
		return nil, damaged(dir, err.Error())
	}
	if err := space.prepare(); err != nil {
		return nil, err
	}
	// Until badger has begun its own, there may be no log, without any damage.
	if err := errors.Join(setOpen(dir, false), removeUnused(dir)); err != nil {
		return nil, cannot("open", dir, err)
	}
	db, err := openBadger(filepath.Join(dir, badgerDir), newLogger(log, space.unwritten))
	if err != nil {
		return nil, cannot("open", dir, err).WithHint("%s\nif the store is damaged, %s", lookAfterDisk, remedy)
	}
	if err = postcheck(db, dir, marked); err == nil {
		err = settle(dir, space, disk)
	}
	if err != nil {
		_ = closeBadger(db, space) // fails for the same reason, and leaves all as it is
		return nil, err
	}
	return db, nil
}

// settle makes durable what a killed server had not reported: it is visible now.
func settle(dir string, space *space, disk *rounds) error {
	err := disk.begin()
	if err == nil {
		err = setOpen(dir, true)
	}
	if err == nil {
		err = space.reserve()
	}
	if err != nil {
		return cannot("open", dir, err)
	}
	return nil
}

// openFile stands beside badger's directory from when a store was opened until
// badger begins to close it: one that is found tells of a crash, after which there is a log.
// It holds the number of the newest log with a commit that was reported; nothing
// before the first, or when a crash or a full disk cut that off.
const openFile = "open"

// crash is how a store was left.
type crash struct {
	open bool // it was not closed
	last int  // the number in openFile, 0 for none
}

func wasOpen(dir string) (crash, error) {
	text, err := os.ReadFile(filepath.Join(dir, openFile))
	if errors.Is(err, fs.ErrNotExist) {
		return crash{}, nil
	}
	last, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if bad != nil {
		last = 0
	}
	return crash{err == nil, last}, err
}

// noteLog notes the number of the newest log with a commit, durably. The file is
// there and stays as it was when that fails: older numbers are as true.
func noteLog(dir string, number int) error {
	f, err := os.OpenFile(filepath.Join(dir, openFile), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(fmt.Sprintf("%010d\n", number))
	return errors.Join(err, f.Sync(), f.Close())
}

// setOpen makes or removes the file that says that the store is open, durably.
func setOpen(dir string, open bool) error {
	file := filepath.Join(dir, openFile)
	var err error
	if open {
		err = os.WriteFile(file, nil, 0o600)
	} else {
		err = os.Remove(file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return flush(dir)
}

func openBadger(dir string, log *logger) (*badger.DB, error) {
	return badger.Open(tuned(dir).WithBypassLockGuard(true).WithLogger(log))
}

// precheck looks at the directory before badger does, which deletes tables
// that its manifest does not list.
func precheck(dir string) (marked bool, err error) {
	marker, err := os.ReadFile(filepath.Join(dir, markerFile))
	switch {
	case err == nil && string(marker) != schema:
		return false, damaged(dir, fmt.Sprintf("%s says %.40q", markerFile, marker))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, cannot("open", dir, err)
	}
	marked = err == nil

	_, err = os.Stat(filepath.Join(dir, badgerDir, badger.ManifestFilename))
	if err == nil {
		return marked, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, cannot("open", dir, err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, badgerDir, "*.sst"))
	if err != nil {
		return false, cannot("open", dir, err)
	}
	if marked || len(tables) > 0 {
		return false, damaged(dir, badger.ManifestFilename+" is missing")
	}
	return false, nil
}

// postcheck verifies what badger opened, and makes a new store one of ours.
func postcheck(db *badger.DB, dir string, marked bool) error {
	known, empty, err := inspect(db)
	switch {
	case err != nil:
		return damaged(dir, err.Error())
	case known && marked:
		return nil
	case known: // a first start that ended before the marker was there
		return mark(dir)
	case marked || !empty:
		return damaged(dir, "its records are missing")
	}
	if err := found(db); err != nil {
		return cannot("open", dir, err)
	}
	return mark(dir)
}

// found writes the schema row of a new store.
func found(db *badger.DB) error {
	err := db.Update(func(txn *badger.Txn) error {
		return txn.Set([]byte(schemaKey), seal(schemaKey, []byte(schema)))
	})
	return errors.Join(err, db.Sync())
}

// inspect tells whether the schema row is there, and whether no row is.
func inspect(db *badger.DB) (known, empty bool, err error) {
	err = db.View(func(txn *badger.Txn) error {
		r := reader{txn: txn}
		value, err := r.Get(schemaKey)
		if err == nil && string(value) != schema {
			return fmt.Errorf("its schema is %.40q", value)
		}
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		known, empty = err == nil, true
		for range r.items("", "") {
			empty = false
			break
		}
		return nil
	})
	return known, empty, err
}

// mark writes the marker, whole or not at all.
func mark(dir string) error {
	if err := replaceFile(filepath.Join(dir, markerFile), []byte(schema)); err != nil {
		return cannot("mark", dir, err)
	}
	return nil
}

// replaceFile writes a file, whole or not at all, and makes it durable.
func replaceFile(file string, content []byte) error {
	temp := file + ".new"
	err := os.WriteFile(temp, content, 0o600)
	for _, step := range []func() error{
		func() error { return flush(temp) },
		func() error { return os.Rename(temp, file) },
		func() error { return flush(filepath.Dir(file)) },
	} {
		if err == nil {
			err = step()
		}
	}
	return err
}

// flush makes a file, or the names in a directory, durable.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func cannot(verb, dir string, err error) *fault.Error {
	return fault.Failedf("cannot %s the store %s: %v", verb, dir, err).
		WithHint("look after the disk, and whether the server may use that directory")
}

const remedy = "move the data directory away and restore a backup into an empty one: waltd restore FILE\nwithout a backup, what can be read of it becomes one: waltd salvage DIR FILE (DIR is the data directory)"

func damaged(dir, what string) *fault.Error {
	return fault.Failedf("the store %s is damaged: %s", dir, what).WithHint(remedy)
}
