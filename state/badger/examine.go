package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

const logSuffix = ".mem"

// logFile is a log of badger's: what was committed since the last table.
type logFile struct {
	path   string
	number int
	size   int64 // 0 for one that badger had not begun, or that was reserved
}

func logPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("%05d%s", number, logSuffix))
}

// findLogs returns the logs in badger's directory, the oldest first.
func findLogs(dir string) ([]logFile, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var logs []logFile
	for _, e := range entries {
		number, isLog := strings.CutSuffix(e.Name(), logSuffix)
		n, bad := strconv.Atoi(number)
		if !isLog || bad != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // it was full and became a table
			continue
		}
		if err != nil {
			return nil, err
		}
		logs = append(logs, logFile{filepath.Join(dir, e.Name()), n, info.Size()})
	}
	slices.SortFunc(logs, func(a, b logFile) int { return a.number - b.number })
	return logs, err
}

// usedLogs returns those that badger had begun.
func usedLogs(dir string) ([]logFile, error) {
	logs, err := findLogs(dir)
	return slices.DeleteFunc(logs, func(l logFile) bool { return l.size == 0 }), err
}

// examine looks at badger's files before badger does, which drops what follows
// damage in a log in silence, panics at a damaged table, and refuses files that
// a kill left empty.
func examine(dir string, c crash) error {
	if err := removeEmpty(filepath.Join(dir, badgerDir)); err != nil {
		return err
	}
	mended, err := verify(dir, c)
	if err == nil && mended != nil {
		err = replaceFile(filepath.Join(dir, badgerDir, badger.ManifestFilename), mended)
	}
	return err
}

// verify is examine without the changes: mended is what the manifest should be, nil for
// what it is.
func verify(dir string, c crash) (mended []byte, err error) {
	dir = filepath.Join(dir, badgerDir)
	if err := verifyRecords(dir, c); err != nil {
		return nil, err
	}
	tables, mended, err := listedTables(dir)
	if err != nil {
		return nil, err
	}
	return mended, verifyTables(tables)
}

// verifyRecords is verify of all but the tables.
func verifyRecords(dir string, c crash) error {
	if err := verifyFiles(dir); err != nil {
		return err
	}
	logs, err := findLogs(dir)
	if err != nil {
		return err
	}
	logs = slices.DeleteFunc(logs, func(l logFile) bool { return l.size == 0 })
	if c.open && len(logs) == 0 {
		return fmt.Errorf("the log of the last commits is missing (*%s)", logSuffix)
	}
	for i, l := range logs {
		if i > 0 && l.number != logs[i-1].number+1 {
			return fmt.Errorf("a log is missing between %s and %s", filepath.Base(logs[i-1].path), filepath.Base(l.path))
		}
		if err := verifyLog(l.path); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(l.path), err)
		}
	}
	return verifyLast(dir, logs, c.last)
}

// verifyFiles looks at what badger would read besides the records: what kind of files
// there are, that none claims to be encrypted, and the registry of keys for that.
func verifyFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is not a file", e.Name())
		}
		if ext := filepath.Ext(e.Name()); ext != logSuffix && ext != ".vlog" {
			continue
		}
		begin, err := readBegin(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint64(begin[:]) != 0 {
			return fmt.Errorf("%s: its first bytes are damaged", e.Name())
		}
	}
	if err != nil {
		return err
	}
	if _, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true}); err != nil {
		return fmt.Errorf("%s: %w", badger.KeyRegistryFileName, err)
	}
	return nil
}

// readBegin returns the number of the data key that a log was encrypted with, which
// it begins with; zeros for a file that is shorter.
func readBegin(file string) (begin [8]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return begin, err
	}
	defer f.Close()
	if _, err = io.ReadFull(f, begin[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
		return [8]byte{}, nil
	}
	return begin, err
}

// verifyLast returns an error when the newest log with a commit that was reported is
// neither there, with one, nor followed by another, after which it may have become
// a table. That a newer one is missing, to which the first commit was on its way,
// cannot be known.
func verifyLast(dir string, logs []logFile, last int) error {
	name := filepath.Base(logPath(dir, last))
	if last > 0 && (len(logs) == 0 || logs[len(logs)-1].number < last) {
		return fmt.Errorf("%s, the log of the last commits, is missing", name)
	}
	for _, l := range logs {
		if l.number != last {
			continue
		}
		if whole, err := holdsCommit(l.path); err != nil || !whole {
			return errors.Join(err, fmt.Errorf("%s: the commits in it are missing", name))
		}
	}
	return nil
}

// removeEmpty removes the logs that badger had made and not begun when it was
// killed, and those that were reserved: nothing is in them.
func removeEmpty(dir string) error {
	var empty []string
	for _, pattern := range []string{"*" + logSuffix, "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() == 0 {
				empty = append(empty, f)
			}
		}
	}
	for _, f := range empty {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// removeUnused removes the newest log if nothing was committed to it: badger would,
// and take the next number for its own, so that after a kill before older logs
// became tables one seemed to be missing.
func removeUnused(dir string) error {
	logs, err := findLogs(filepath.Join(dir, badgerDir))
	if err != nil || len(logs) == 0 {
		return err
	}
	newest := logs[len(logs)-1].path
	used, err := holdsCommit(newest)
	if err != nil || used {
		return err
	}
	return os.Remove(newest)
}
