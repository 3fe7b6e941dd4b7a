package badger

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"walt/fault"
	"walt/state"
)

// Restore fills an empty directory, or one that does not exist, with the store
// that state.Backup wrote. A directory in which it failed or was killed holds no
// store that Open accepts.
func Restore(dir string, r io.Reader) error {
	lock, err := claim(dir)
	if err != nil {
		return err
	}
	defer release(lock)
	present, err := os.ReadDir(dir)
	if err != nil {
		return cannot("restore", dir, err)
	}
	if len(present) > 0 {
		return fault.Failedf("cannot restore into %s: it is not empty", dir).
			WithHint("choose another directory, or move what is there away")
	}
	// The marker first: until badger's directory has its name, this is a store
	// that has lost its records.
	if err := mark(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, badgerDir+".new")
	if err := load(temp, newSpace(dir, temp), r); err != nil {
		f := fault.As(err)
		if f == nil {
			f = cannot("restore", dir, err).WithHint("nothing was restored")
		}
		return errors.Join(f, os.RemoveAll(temp), os.Remove(filepath.Join(dir, markerFile)))
	}
	if err := os.Rename(temp, filepath.Join(dir, badgerDir)); err != nil {
		return cannot("restore", dir, err)
	}
	return flush(dir)
}

// load makes badger's directory, which does not exist, of a backup.
func load(dir string, space *space, r io.Reader) error {
	if err := space.prepare(); err != nil {
		return err
	}
	db, err := openBadger(dir, newLogger(nil, nil))
	if err != nil {
		return err
	}
	s := &Store{db: db, recent: newRecent(), space: space, disk: newRounds(dir, nil), tables: newCompaction(db, space)}
	if err := errors.Join(found(db), space.reserve()); err != nil {
		return errors.Join(err, s.Close())
	}
	return errors.Join(state.Restore(context.Background(), s, r), s.Close())
}
