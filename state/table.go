package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	fast "github.com/segmentio/encoding/json"
)

// Table is a typed view of the keys "<name>/...". Rows are JSON, so that a
// backup can be read and fields can be added; they are decoded by a library that
// takes a fifth of the standard one's time, since reading a lab of many nodes is
// little else.
type Table[T any] struct {
	prefix string
}

// Entry is one row of a table: Key is without the table's name.
type Entry[T any] struct {
	Key   string
	Value T
}

// NewTable names a table; two tables must not share a name.
func NewTable[T any](name string) Table[T] { return Table[T]{prefix: name + "/"} }

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
	v, err = t.Get(r, key)
	if errors.Is(err, ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

// All returns the rows whose key begins with under, in key order.
func (t Table[T]) All(r Reader, under string) ([]T, error) {
	var all []T
	for e, err := range t.Scan(r, under, "") {
		if err != nil {
			return nil, err
		}
		all = append(all, e.Value)
	}
	return all, nil
}

// Put writes the row of key.
func (t Table[T]) Put(tx Tx, key string, v T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s%s: %w", t.prefix, key, err)
	}
	return tx.Put(t.prefix+key, b)
}

// Delete removes the row of key; one that does not exist is no error.
func (t Table[T]) Delete(tx Tx, key string) error { return tx.Delete(t.prefix + key) }

// Scan visits the rows whose key begins with under, in key order, from start on.
func (t Table[T]) Scan(r Reader, under, start string) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		if start != "" {
			start = t.prefix + start
		}
		for row, err := range r.Scan(t.prefix+under, start) {
			var e Entry[T]
			if err == nil {
				e.Key = row.Key[len(t.prefix):]
				e.Value, err = t.decode(e.Key, row.Value)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Keys visits the keys that begin with under, in order, without reading rows.
func (t Table[T]) Keys(r Reader, under string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for key, err := range r.Keys(t.prefix+under, "") {
			if err == nil {
				key = key[len(t.prefix):]
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

func (t Table[T]) decode(key string, b []byte) (T, error) {
	var v T
	if err := fast.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("decode %s%s: %w", t.prefix, key, err)
	}
	return v, nil
}
