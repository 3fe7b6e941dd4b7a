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
	rows            map[uint64]kept          // by the hashes of their keys
}

// answer is what Get returns of a row.
type answer struct {
	value []byte
	err   error // state.ErrNotFound or nil
}

// kept is a row as all commits from one on left it.
type kept struct {
	answer
	key   string // another one may have the same hash
	since state.Version
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), generation: generation, mostRows: mostRows, written: map[uint64]state.Version{}, rows: map[uint64]kept{}}
}

func (r *recent) hash(key string) uint64 { return maphash.String(r.seed, key) }

// lastWritten returns the last commit that may have written a key, as far as known.
func (r *recent) lastWritten(hash uint64) state.Version {
	if row, kept := r.rows[hash]; kept {
		return row.since
	}
	version, known := r.written[hash]
	if !known {
		version = r.before[hash]
	}
	return max(version, r.floor)
}

// find returns a row as the commit of a version left it, if it is kept.
func (r *recent) find(key string, hash uint64, at state.Version) (a answer, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	row, known := r.rows[hash]
	if !known || row.key != key || row.since > at {
		return answer{}, false
	}
	return row.answer, true
}

// keep keeps a row that a transaction which began at a version read, unless there is
// a later one.
func (r *recent) keep(key string, hash uint64, a answer, at state.Version) {
	if len(a.value) > rowSize {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.lastWritten(hash)
	if since > at {
		return
	}
	if len(r.rows) >= r.mostRows {
		for any := range r.rows {
			delete(r.rows, any)
			break
		}
	}
	r.rows[hash] = kept{a, key, since}
}

// commit notes what a commit writes, which becomes the given version, unless that is in
// conflict with what it read: keys, by their hashes, since a version.
func (r *recent) commit(read []uint64, since, version state.Version, changed []state.Row) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, hash := range read {
		if r.lastWritten(hash) > since {
			return false
		}
	}
	for _, row := range changed {
		hash := r.hash(row.Key)
		r.written[hash] = version
		if _, known := r.rows[hash]; !known {
			continue
		}
		switch {
		case row.Value == nil:
			r.rows[hash] = kept{answer{err: state.ErrNotFound}, row.Key, version}
		case len(row.Value) > rowSize:
			delete(r.rows, hash)
		default:
			r.rows[hash] = kept{answer{value: row.Value}, row.Key, version}
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
		delete(r.rows, r.hash(row.Key))
	}
}

// snapshot is a reader that knows which commits it sees.
type snapshot struct {
	reader
	recent *recent
	at     state.Version
}

func (s snapshot) Get(key string) ([]byte, error) { return s.get(key, s.recent.hash(key)) }

func (s snapshot) get(key string, hash uint64) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if a, known := s.recent.find(key, hash, s.at); known {
		return a.value, a.err
	}
	value, err := s.reader.Get(key)
	if err == nil || errors.Is(err, state.ErrNotFound) {
		s.recent.keep(key, hash, answer{value, err}, s.at)
	}
	return value, err
}
