package badger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/y"

	"walt/state"
)

// salvage is what could be read of a damaged store.
type salvage struct {
	newest map[string]entry // by key
	lost   []string         // what could not be read, in words
}

// entry is one version of a row.
type entry struct {
	version uint64
	deleted bool
	record  []byte
}

// Salvage returns the rows, in the order of their keys, that can still be read
// of the store in dir, which no server has open, and says in words what cannot.
// Of a transaction that is damaged nothing is taken. It changes nothing.
func Salvage(dir string) (rows []state.Row, lost []string, err error) {
	if _, err := os.Stat(dir); err != nil { // claim would make one
		return nil, nil, cannot("read", dir, err)
	}
	lock, err := claim(dir)
	if err != nil {
		return nil, nil, err
	}
	defer release(lock)
	s := salvage{newest: map[string]entry{}}
	files := filepath.Join(dir, badgerDir)
	if err := s.readTables(files); err != nil {
		return nil, nil, cannot("read", dir, err)
	}
	if err := s.readLogs(files); err != nil {
		return nil, nil, cannot("read", dir, err)
	}
	if err := missingLast(dir); err != nil {
		s.lose("%v", err)
	}
	rows = s.rows()
	return rows, s.lost, nil
}

// missingLast returns an error when the log of the last commits is missing.
func missingLast(dir string) error {
	c, err := wasOpen(dir)
	if err != nil {
		return err
	}
	files := filepath.Join(dir, badgerDir)
	logs, err := findLogs(files)
	if err != nil {
		return err
	}
	logs = slices.DeleteFunc(logs, func(l logFile) bool { return l.size == 0 })
	return verifyLast(files, logs, c.last)
}

// rows returns the newest version of each row, in the order of their keys.
func (s *salvage) rows() (rows []state.Row) {
	for key, e := range s.newest {
		if e.deleted || key == schemaKey || key == endOfTransaction {
			continue
		}
		value, err := unseal([]byte(key), e.record)
		if err != nil {
			s.lose("a row: %v", err)
			continue
		}
		rows = append(rows, state.Row{Key: key, Value: value})
	}
	slices.SortFunc(rows, func(a, b state.Row) int { return strings.Compare(a.Key, b.Key) })
	return rows
}

// endOfTransaction is the key under which badger notes the end of each.
const endOfTransaction = "!badger!txn"

func (s *salvage) lose(format string, args ...any) {
	s.lost = append(s.lost, fmt.Sprintf(format, args...))
}

// note keeps an entry whose key has its version behind it, if it is the newest.
func (s *salvage) note(key []byte, meta byte, record []byte) {
	if len(key) <= versionSize {
		return
	}
	e := entry{version: y.ParseTs(key), deleted: meta&metaDeleted != 0, record: slices.Clone(record)}
	name := string(y.ParseKey(key))
	if known, ok := s.newest[name]; !ok || e.version >= known.version {
		s.newest[name] = e
	}
}

func (s *salvage) readTables(dir string) error {
	files, _, err := listedTables(dir)
	if err != nil || len(files) == 0 {
		if err != nil {
			s.lose("%v: rows that were deleted may be back", err)
		}
		if files, err = filepath.Glob(filepath.Join(dir, "*.sst")); err != nil {
			return err
		}
	}
	for _, file := range files {
		table, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			s.lose("%s: it is missing", filepath.Base(file))
			continue
		}
		var index *fb.TableIndex
		if err == nil {
			index, err = tableIndex(table)
		}
		if err != nil {
			s.lose("%s: %v", filepath.Base(file), err)
			continue
		}
		s.readBlocks(filepath.Base(file), table, index)
	}
	return nil
}

func (s *salvage) readBlocks(name string, table []byte, index *fb.TableIndex) {
	for i := range index.OffsetsLength() {
		block, err := tableBlock(table, index, i)
		if err != nil {
			s.lose("%s: block %d of %d: %v", name, i+1, index.OffsetsLength(), err)
			continue
		}
		for key, value := range blockEntries(block) {
			var v y.ValueStruct
			v.Decode(value)
			s.note(key, v.Meta, v.Value)
		}
	}
}

func (s *salvage) readLogs(dir string) error {
	logs, err := findLogs(dir)
	if err != nil {
		return err
	}
	for i, l := range logs {
		if i > 0 && l.size > 0 && l.number != logs[i-1].number+1 {
			s.lose("%d logs are missing before %s", l.number-logs[i-1].number-1, filepath.Base(l.path))
		}
		log, err := os.ReadFile(l.path)
		if err != nil {
			s.lose("%s: %v", filepath.Base(l.path), err)
			continue
		}
		s.readLog(filepath.Base(l.path), log)
	}
	return nil
}

// readLog keeps the transactions of a log of which all is there.
func (s *salvage) readLog(name string, log []byte) {
	var open []logRecord // of the transaction that is not complete
	whole := true
	for at := logHeader; at < len(log); {
		r, ok := readRecord(log[at:])
		if !ok {
			next := nextRecord(log, at)
			if next < 0 {
				if len(log) < logSize && len(bytes.Trim(log[at:], "\x00")) > 0 {
					s.lose("%s: what stood after byte %d", name, at)
				}
				return
			}
			s.lose("%s: %d bytes from byte %d on, and the rest of their transaction", name, next-at, at)
			at, whole = next, false
			continue
		}
		at += r.length
		if !r.last {
			open = append(open, r)
			continue
		}
		for _, o := range open {
			if whole {
				s.note(o.key, o.meta, o.value)
			}
		}
		open, whole = nil, true
	}
}
