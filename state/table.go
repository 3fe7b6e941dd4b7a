package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	fast "github.com/segmentio/encoding/json"
)

// Table is a typed view of the keys "<name>/...". Rows are JSON, so that a
// backup can be read and fields can be added; they are decoded by a library that
// takes a fifth of the standard one's time, since reading a lab of many nodes is
// little else.
type Table[T any] struct {
	prefix  string
	guarded bool
	depth   int
}

// Entry is one row of a table: Key is without the table's name.
type Entry[T any] struct {
	Key   string
	Value T
}

// NewTable names a table; two tables must not share a name.
func NewTable[T any](name string) Table[T] { return Table[T]{prefix: name + "/"} }

// Guarded returns the table with guards against phantoms: a Scan, All or Keys in
// an Update conflicts with every concurrent Put or Delete under its prefix, of
// rows that it did not see too. Writers do not conflict with each other by it.
//
// Depth says how far guards tell keys apart, whose segments end in "/". With 0
// one guard covers the table. With 1 there is one for each first segment too, so
// that a scan of "alice/" does not conflict with writes under "bob/"; with 2 one
// for each pair of segments, and so on. A scan of a prefix with fewer segments
// reads the guard that covers all that it may visit.
//
// A guard is a row outside the table. Put and Delete touch one for each level,
// each once in a transaction however many rows it writes.
func (t Table[T]) Guarded(depth int) Table[T] {
	t.guarded, t.depth = true, depth
	return t
}

// guardPrefix begins the keys of all guards; it is in no table, and a backup
// leaves what is under it out: guards matter only while transactions run.
const guardPrefix = "\x00guard/"

// touch touches the guards of a key: one for each of its segments up to the
// depth, and that of the table.
func (t Table[T]) touch(tx Tx, key string) error {
	if !t.guarded {
		return nil
	}
	for level := range t.depth + 1 {
		end, ok := segments(key, level)
		if !ok {
			break
		}
		if err := tx.Touch(guardPrefix + t.prefix + key[:end]); err != nil {
			return err
		}
	}
	return nil
}

// rely reads, in an Update, the guard that covers all keys that begin with under.
func (t Table[T]) rely(r Reader, under string) error {
	if _, writes := r.(Tx); !writes || !t.guarded {
		return nil
	}
	covered := 0
	for level := 1; level <= t.depth; level++ {
		end, ok := segments(under, level)
		if !ok {
			break
		}
		covered = end
	}
	_, err := r.Get(guardPrefix + t.prefix + under[:covered])
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read the guard of %s%s: %w", t.prefix, under, err)
	}
	return nil
}

// segments returns where the first n segments of a key end, if it has so many.
func segments(key string, n int) (end int, ok bool) {
	for range n {
		i := strings.IndexByte(key[end:], '/')
		if i < 0 {
			return 0, false
		}
		end += i + 1
	}
	return end, true
}

// Prefix is the beginning of the keys of the rows under the given one, for Watch.
func (t Table[T]) Prefix(under string) string { return t.prefix + under }

// Get returns the row of key, or an error that wraps ErrNotFound.
func (t Table[T]) Get(r Reader, key string) (T, error) {
	var v T
	b, err := r.Get(t.prefix + key)
	if err != nil {
		return v, fmt.Errorf("read %s%s: %w", t.prefix, key, err)
	}
	return t.decode(key, b)
}

// Find returns the row of key and whether there is one, for callers to whom none
// is no error.
func (t Table[T]) Find(r Reader, key string) (v T, found bool, err error) {
	b, err := r.Get(t.prefix + key)
	switch {
	case errors.Is(err, ErrNotFound): // not wrapped first: for many rows that takes longer than to look
		return v, false, nil
	case err != nil:
		return v, false, fmt.Errorf("read %s%s: %w", t.prefix, key, err)
	}
	v, err = t.decode(key, b)
	return v, err == nil, err
}

// Has reports whether there is a row of key.
func (t Table[T]) Has(r Reader, key string) (bool, error) {
	_, err := r.Get(t.prefix + key)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s%s: %w", t.prefix, key, err)
	}
	return true, nil
}

// All returns the rows whose key begins with under, in key order.
func (t Table[T]) All(r Reader, under string) ([]T, error) {
	var all []T
	for e, err := range t.Scan(r, under, "") {
		if err != nil {
			return nil, err
		}
		if len(all) == cap(all) { // append would grow it by a quarter, and copy large rows often
			all = slices.Grow(all, max(len(all), 8))
		}
		all = append(all, e.Value)
	}
	return all, nil
}

// AllKeys returns the keys that begin with under, in order, without reading rows.
func (t Table[T]) AllKeys(r Reader, under string) ([]string, error) {
	var all []string
	for key, err := range t.Keys(r, under, "") {
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// Put writes the row of key.
func (t Table[T]) Put(tx Tx, key string, v T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s%s: %w", t.prefix, key, err)
	}
	if err := tx.Put(t.prefix+key, b); err != nil {
		return err
	}
	return t.touch(tx, key)
}

// Delete removes the row of key; one that does not exist is no error.
func (t Table[T]) Delete(tx Tx, key string) error {
	if err := tx.Delete(t.prefix + key); err != nil {
		return err
	}
	return t.touch(tx, key)
}

// Scan visits the rows whose key begins with under, in key order, from start on.
func (t Table[T]) Scan(r Reader, under, start string) iter.Seq2[Entry[T], error] {
	return t.Select(r, under, start, nil)
}

// Select is Scan of those rows that are wanted; nil: of all. It is for who looks for few
// among many: the others leave next to nothing to collect. What wanted is shown is valid
// only until it returns.
func (t Table[T]) Select(r Reader, under, start string, wanted func(key string, row *T) bool) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		if err := t.rely(r, under); err != nil {
			yield(Entry[T]{}, err)
			return
		}
		if start != "" {
			start = t.prefix + start
		}
		var seen, none T
		for row, err := range r.Scan(t.prefix+under, start) {
			var e Entry[T]
			if err == nil {
				e.Key = row.Key[len(t.prefix):]
				if wanted != nil {
					seen = none
					if err = t.decodeTo(&seen, e.Key, row.Value, fast.ZeroCopy); err == nil && !wanted(e.Key, &seen) {
						continue
					}
				}
			}
			if err == nil {
				e.Value, err = t.decode(e.Key, row.Value)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Keys visits the keys of the same rows, without reading these.
func (t Table[T]) Keys(r Reader, under, start string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := t.rely(r, under); err != nil {
			yield("", err)
			return
		}
		if start != "" {
			start = t.prefix + start
		}
		for key, err := range r.Keys(t.prefix+under, start) {
			if err == nil {
				key = key[len(t.prefix):]
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

// Change is what became of the row of a key; Row is nil when it was deleted.
type Change[T any] struct {
	Key string
	Row *T
}

// Changes returns what a commit did to rows of the table, in the order of the writes.
func (t Table[T]) Changes(b Batch) ([]Change[T], error) {
	var all []Change[T]
	for _, row := range b.Rows {
		key, of := strings.CutPrefix(row.Key, t.prefix)
		if !of {
			continue
		}
		c := Change[T]{Key: key}
		if row.Value != nil {
			v, err := t.decode(key, row.Value)
			if err != nil {
				return nil, err
			}
			c.Row = &v
		}
		all = append(all, c)
	}
	return all, nil
}

func (t Table[T]) decode(key string, b []byte) (v T, err error) {
	err = t.decodeTo(&v, key, b, 0)
	return v, err
}

func (t Table[T]) decodeTo(v *T, key string, b []byte, flags fast.ParseFlags) error {
	rest, err := fast.Parse(b, v, flags)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return fmt.Errorf("decode %s%s: %w", t.prefix, key, err)
	}
	return nil
}
