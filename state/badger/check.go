package badger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"walt/state"
)

// Lock keeps servers from opening the store in dir until unlock is called. It is nil when
// there is no store, and when a server has it open: running says so.
func Lock(dir string) (unlock func() error, running bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	lock, err := tryLock(dir)
	if err != nil {
		running = errors.Is(err, errLocked)
		if running {
			err = nil
		}
		return nil, running, err
	}
	return func() error { return release(lock) }, false, nil
}

// Check looks for what Open would refuse in the store in dir, and changes nothing.
// It returns the rows, in the order of their keys; running says that a server has
// the store open, which is not looked at then. No store is fine: Open makes one.
func Check(dir string) (rows []state.Row, running bool, err error) {
	unlock, running, err := Lock(dir)
	if unlock == nil || err != nil {
		return nil, running, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	marked, err := precheck(dir)
	if err != nil {
		return nil, false, err
	}
	crash, err := wasOpen(dir)
	if err != nil {
		return nil, false, cannot("read", dir, err)
	}
	if _, err := verify(dir, crash); err != nil {
		return nil, false, damaged(dir, err.Error())
	}
	// Badger reads the tables that its manifest lists, which may be none.
	s, files := salvage{newest: map[string]entry{}}, filepath.Join(dir, badgerDir)
	tables, _, err := listedTables(files)
	if err == nil && len(tables) > 0 {
		err = s.readTables(files)
	}
	if err == nil {
		err = s.readLogs(files)
	}
	if err != nil {
		return nil, false, cannot("read", dir, err)
	}
	if _, ours := s.newest[schemaKey]; marked && !ours {
		return nil, false, damaged(dir, "its records are missing")
	}
	return s.rows(), false, nil
}
