package badger

import (
	"errors"
	"hash/maphash"
	"sync"

	"walt/state"
)

const (
	// generation is of how many keys it is known at least when they were written last.
	generation = 1 << 15
	// mostRows is how many rows are kept, and rowSize how large their values are at
	// most, in bytes.
	mostRows, rowSize = 4096, 2 << 10
)

// recent knows which commit wrote a key last, of those that were written lately. By
// that it finds conflicts, in the place of badger, which does not hear of what is read
// here: the rows that are asked for again and again, as the last commit left them.
// Badger looks through all logs and tables for each, which was a fifth of the time of
// a command that changes something.
//
// A transaction sees the commits up to the one that was the last when it began, as its
// snapshot does, and maybe knows of fewer: what was written later counts as a conflict.
type recent struct {
	seed       maphash.Seed
	generation int // of how many keys it knows at least
	mostRows   int // that are kept

	mu              sync.RWMutex
	written, before map[uint64]state.Version // the last commits of keys, by their hashes; the newer ones first
	turned          state.Version            // the last commit of which something may be in before
	floor           state.Version            // the last commit of which something may be in neither
	rows            map[string]answer
}

// answer is what Get returns of a row.
type answer struct {
	value []byte
	err   error // state.ErrNotFound or nil
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), generation: generation, mostRows: mostRows, written: map[uint64]state.Version{}, rows: map[string]answer{}}
}

func (r *recent) hash(key string) uint64 { return maphash.String(r.seed, key) }

// unwritten reports whether no commit after a version wrote a key, as far as known.
func (r *recent) unwritten(hash uint64, since state.Version) bool {
	version, known := r.written[hash]
	if !known {
		version = r.before[hash]
	}
	return max(version, r.floor) <= since
}

// find returns a row as the commit of a version left it, if it is kept.
func (r *recent) find(key string, at state.Version) (a answer, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if a, known = r.rows[key]; !known || !r.unwritten(r.hash(key), at) {
		return answer{}, false
	}
	return a, true
}

// keep keeps a row that a transaction which began at a version read, unless there is
// a later one.
func (r *recent) keep(key string, a answer, at state.Version) {
	if len(a.value) > rowSize {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unwritten(r.hash(key), at) {
		return
	}
	if len(r.rows) >= r.mostRows {
		for any := range r.rows {
			delete(r.rows, any)
			break
		}
	}
	r.rows[key] = a
}

// commit notes what a commit writes, which becomes the given version, unless that is in
// conflict with what it read: keys, by their hashes, since a version.
func (r *recent) commit(read []uint64, since, version state.Version, changed []state.Row) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, hash := range read {
		if !r.unwritten(hash, since) {
			return false
		}
	}
	for _, row := range changed {
		r.written[r.hash(row.Key)] = version
		if _, kept := r.rows[row.Key]; !kept {
			continue
		}
		switch {
		case row.Value == nil:
			r.rows[row.Key] = answer{err: state.ErrNotFound}
		case len(row.Value) > rowSize:
			delete(r.rows, row.Key)
		default:
			r.rows[row.Key] = answer{value: row.Value}
		}
	}
	if len(r.written) >= r.generation {
		r.floor, r.turned = r.turned, version
		r.before, r.written = r.written, map[uint64]state.Version{}
	}
	return true
}

// drop forgets the rows of a commit that failed: badger tells what they are.
func (r *recent) drop(changed []state.Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range changed {
		delete(r.rows, row.Key)
	}
}

// snapshot is a reader that knows which commits it sees.
type snapshot struct {
	reader
	recent *recent
	at     state.Version
}

func (s snapshot) Get(key string) ([]byte, error) {
	if a, known := s.recent.find(key, s.at); known {
		return a.value, a.err
	}
	value, err := s.reader.Get(key)
	if err == nil || errors.Is(err, state.ErrNotFound) {
		s.recent.keep(key, answer{value, err}, s.at)
	}
	return value, err
}
