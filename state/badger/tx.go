package badger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"walt/state"
)

// limit is what badger takes with the options of tuned, 52,428 rows or
// 5,033,164 bytes by its own count, in round numbers. Badger counts 12 bytes for
// each row besides key and record, and a record has a checksum of 4. It would
// refuse values that exceed the size of one with an error that quotes them.
var limit = state.Limit{Rows: 52_000, Bytes: 5_000_000, Value: 1_000_000}

// reader reads one badger transaction.
type reader struct {
	txn     *badger.Txn
	ctx     context.Context  // nothing is read when it ended
	visited func(key []byte) // is called with each key that is met in an iteration; nil for nothing
	open    *int             // counts the iterations that are under way; nil: nobody asks
}

func (r reader) Get(key string) ([]byte, error) {
	item, err := r.txn.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, state.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	record, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	return unseal(item.Key(), record)
}

func (r reader) Scan(prefix, start string) iter.Seq2[state.Row, error] {
	return func(yield func(state.Row, error) bool) {
		for item := range r.items(prefix, start) {
			row := state.Row{Key: string(item.Key())}
			record, err := item.ValueCopy(nil)
			if err == nil {
				row.Value, err = unseal(item.Key(), record)
			}
			if err == nil {
				err = r.ctx.Err()
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

func (r reader) Keys(prefix, start string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for item := range r.items(prefix, start) {
			if err := r.ctx.Err(); !yield(string(item.Key()), err) || err != nil {
				return
			}
		}
	}
}

// items visits what badger has; an item is valid until the next one. Values are
// not prefetched: they lie beside the keys, and a prefetch costs a goroutine
// for each of them.
//
// Badger keeps what a row was before until it makes tables, and walks over all of
// that. So it is asked for every version, the newest first, and those behind it
// are jumped over: a row that was changed a thousand times costs little more than
// one that never was.
func (r reader) items(prefix, start string) iter.Seq[*badger.Item] {
	return func(yield func(*badger.Item) bool) {
		it := r.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix), AllVersions: true})
		defer it.Close()
		if r.open != nil {
			*r.open++
			defer func() { *r.open-- }()
		}
		it.Seek([]byte(max(prefix, start)))
		for key := []byte(nil); it.Valid(); leave(it, key) {
			item := it.Item()
			key = append(key[:0], item.Key()...)
			if r.visited != nil {
				r.visited(key)
			}
			if !item.IsDeletedOrExpired() && string(key) != schemaKey && !yield(item) {
				return
			}
		}
	}
}

// leave moves an iterator over all versions to the first one of the next key.
func leave(it *badger.Iterator, key []byte) {
	const steps = 3 // that cost less than a jump
	for range steps {
		it.Next()
		if !it.Valid() || !bytes.Equal(it.Item().Key(), key) {
			return
		}
	}
	it.Seek(append(key, 0))
}

type tx struct {
	snapshot
	absent  absent
	read    []uint64    // hashes of the keys that may conflict
	changed []state.Row // as a watch is told
	bytes   int         // as Limit counts them
	touched map[string]bool
	own     map[string]bool // keys that it put or deleted
	err     error           // of the first write that failed
}

func newTx(s snapshot) *tx {
	t := &tx{snapshot: s}
	t.open = new(int)
	t.visited = func(key []byte) { t.read = append(t.read, maphash.Bytes(t.recent.seed, key)) }
	return t
}

func (t *tx) Get(key string) ([]byte, error) {
	if t.own[key] {
		return t.reader.Get(key)
	}
	hash := t.recent.hash(key)
	t.read = append(t.read, hash)
	if !t.absent.has(key) {
		return nil, cmp.Or(t.ctx.Err(), state.ErrNotFound)
	}
	value, err := t.get(key, hash)
	if err == state.ErrNotFound {
		t.absent.miss(key, t.reader)
	}
	return value, err
}

func (t *tx) Put(key string, value []byte) error {
	if value == nil {
		value = []byte{} // nil tells a deleted row
	}
	if t.count(key, value) {
		t.takes(key)
		t.wrote(key, t.txn.Set([]byte(key), seal(key, value)))
	}
	return t.err
}

func (t *tx) Delete(key string) error {
	if t.count(key, nil) {
		t.takes(key)
		t.wrote(key, t.txn.Delete([]byte(key)))
	}
	return t.err
}

// takes notes that a row is the transaction's own from now on.
func (t *tx) takes(key string) {
	if t.own == nil {
		t.own = map[string]bool{}
	}
	t.own[key] = true
}

func (t *tx) Touch(key string) error {
	if !t.touched[key] && t.count(key, []byte{}) {
		if t.touched == nil {
			t.touched = map[string]bool{}
		}
		t.touched[key] = true
	}
	return t.err
}

func (t *tx) Room() state.Limit {
	return state.Limit{Rows: limit.Rows - len(t.changed), Bytes: limit.Bytes - t.bytes, Value: limit.Value}
}

// finish writes what was touched, which the transaction must not see, so this comes last.
func (t *tx) finish() error {
	for key := range t.touched {
		t.wrote(key, t.txn.Set([]byte(key), seal(key, nil)))
	}
	return t.err
}

// count reports whether a write is within the limit. A transaction of which a
// write failed is not committed, even if its closure overlooks the error.
func (t *tx) count(key string, value []byte) bool {
	if t.err != nil {
		return false
	}
	t.bytes += len(key) + len(value) + state.RowBytes
	if len(t.changed) == limit.Rows || t.bytes > limit.Bytes || len(value) > limit.Value {
		t.err = state.ErrTooBig
		return false
	}
	t.changed = append(t.changed, state.Row{Key: key, Value: value})
	return true
}

func (t *tx) wrote(key string, err error) {
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("write %q: %w", key, err)
	}
}

// seal returns the record of a row: its value, then a checksum (CRC-32C, little
// endian) over key and value, which tells a damaged or misplaced record.
func seal(key string, value []byte) []byte {
	record := make([]byte, 0, len(value)+crc32.Size)
	record = append(record, value...)
	return binary.LittleEndian.AppendUint32(record, checksum([]byte(key), value))
}

func unseal(key, record []byte) ([]byte, error) {
	n := len(record) - crc32.Size
	if n < 0 || binary.LittleEndian.Uint32(record[n:]) != checksum(key, record[:n]) {
		return nil, fmt.Errorf("state: the record of %q is damaged", key)
	}
	return record[:n:n], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
