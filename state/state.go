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
	// ErrTooBig is returned by Update, and by the write that was one too many, when
	// the transaction writes more than Store.Limit; nothing was written.
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
	// Touch puts an empty value, once however often a transaction calls it: for a
	// row that is only there so that whoever reads it conflicts with whoever
	// touches it, while those who touch it do not conflict with each other. The
	// transaction does not see it, so that who touches a key and then reads it
	// conflicts with others who touch it.
	Touch(key string) error
	// Room is what may yet be written, of Store.Limit.
	Room() Limit
}

// Limit is the most that one transaction may write: so much passes, more is
// ErrTooBig. Deleting a key and touching it for the first time count like
// writing it, and writing it again counts again.
type Limit struct {
	Rows  int // that are written
	Bytes int // of their keys and values, and RowBytes for each row
	Value int // bytes of one value
}

// RowBytes is what Limit.Bytes counts for each row besides its key and value.
const RowBytes = 16

// Version is the place of a commit in the order of commits: a later one is
// higher. It means nothing to a store that was opened again.
type Version uint64

// Store runs serializable transactions, many at once, over keys and bytes.
//
// Every row that an update read, by Get, Scan or Keys, and every key that it
// found to be without a row by Get, conflicts with a concurrent write of that
// key. A row that appears in a range after that was scanned is a phantom and
// does not conflict: a rule of the kind "there is none" or "these are all"
// needs a guard, a row that whoever adds to the range touches and whoever scans
// it reads. Table.Guarded does that.
//
// When the context of a transaction ends, its reads fail with the context's error, so
// that one which reads much ends soon.
type Store interface {
	// View runs f on a snapshot. It may have commits that are not durable yet, and of
	// which no Watch was told: who does outside of the store what follows from them
	// reads with Lasting.
	View(ctx context.Context, f func(Reader) error) error
	// Update runs f, commits what it wrote, durably, and tells every Watch of it
	// before it returns nil; an error of f, or a context that ended before the
	// commit, leaves everything as it was. On a conflict f runs again from fresh
	// reads. The version is that of the commit, 0 when f wrote nothing: then what f read
	// is durable and told. When the disk fails at a commit, reads and watches agree on
	// whether it is there.
	Update(ctx context.Context, f func(Tx) error) (Version, error)
	// Limit is the most that one Update may write.
	Limit() Limit
	// Watch observes every later commit that touches a key with one of the
	// prefixes.
	Watch(prefixes ...string) *Watch
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

// Lasting is Read of what lasts: it returns when all that f read is durable, and every
// Watch was told. It is for what nobody can take back, as the power of a port, should a
// commit that a snapshot saw be lost.
func Lasting[T any](ctx context.Context, s Store, f func(Reader) (T, error)) (v T, err error) {
	_, err = s.Update(ctx, func(tx Tx) (err error) {
		v, err = f(tx)
		return err
	})
	return v, err
}
