// Package state keeps the lab's records: typed tables over a small
// transactional key-value store. It knows nothing of what the records mean.
// Its one surprising rule: a closure given to Update may run several times, so
// it reads and writes the transaction and does nothing else.
package state

import (
	"context"
	"errors"
	"iter"
)

var (
	// ErrNotFound is returned by Get for a key that has no value.
	ErrNotFound = errors.New("state: not found")
	// ErrTooBig is returned by Update when the transaction holds more than the
	// store takes at once; nothing was written.
	ErrTooBig = errors.New("state: transaction too big")
)

// Reader is a consistent snapshot. Values must not be modified and are valid
// only while the transaction runs.
type Reader interface {
	// Get returns the value of key, or ErrNotFound.
	Get(key string) ([]byte, error)
	// Scan visits the rows whose key has the prefix, in key order, from start
	// on (the prefix itself when start is ""). An error ends the iteration.
	Scan(prefix, start string) iter.Seq2[Row, error]
	// Keys visits the same keys without reading their values, which is several
	// times faster.
	Keys(prefix, start string) iter.Seq2[string, error]
}

// Row is one key and its value.
type Row struct {
	Key   string
	Value []byte
}

// Tx is a Reader that also writes. A transaction sees its own writes; Scan and
// Keys see those made before they began.
type Tx interface {
	Reader
	Put(key string, value []byte) error
	Delete(key string) error
}

// Version is the place of a commit in the order of commits: a later one is
// higher. It means nothing to a store that was opened again.
type Version uint64

// Store runs serializable transactions, many at once, over keys and bytes.
//
// Every row that a transaction read, by Get, Scan or Keys, conflicts with a
// concurrent write of that row. Rows that did not exist when a range was
// scanned do not: a rule of the kind "there is none" needs a guard key that
// both sides read and write.
type Store interface {
	// View runs f on a snapshot.
	View(ctx context.Context, f func(Reader) error) error
	// Update runs f and commits what it wrote, durably, before it returns nil;
	// an error of f, or a context that ended before the commit, leaves
	// everything as it was. On a conflict f runs again from fresh reads. The
	// version is that of the commit, 0 when f wrote nothing.
	Update(ctx context.Context, f func(Tx) error) (Version, error)
	// Watch observes every later commit that touches a key with the prefix.
	Watch(prefix string) *Watch
	// Close waits for running transactions, ends every Watch and closes the store.
	Close() error
}

// Read returns what f reads of a snapshot of the store.
func Read[T any](ctx context.Context, s Store, f func(Reader) (T, error)) (v T, err error) {
	err = s.View(ctx, func(r Reader) (err error) {
		v, err = f(r)
		return err
	})
	return v, err
}
