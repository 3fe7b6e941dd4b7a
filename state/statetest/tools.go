package statetest

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"walt/state"
)

func view(t *testing.T, s state.Store, f func(state.Reader) error) {
	t.Helper()
	if err := s.View(t.Context(), f); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func update(t *testing.T, s state.Store, f func(state.Tx) error) state.Version {
	t.Helper()
	v, err := s.Update(t.Context(), f)
	if err != nil {
		t.Errorf("Update: %v", err)
	}
	return v
}

// put writes pairs of keys and values in one transaction.
func put(t *testing.T, s state.Store, pairs ...string) {
	t.Helper()
	update(t, s, func(tx state.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// want compares the value of a row; "" stands for an empty one and for none.
func want(t *testing.T, s state.Store, key, value string) {
	t.Helper()
	view(t, s, func(r state.Reader) error {
		got, err := r.Get(key)
		if errors.Is(err, state.ErrNotFound) {
			err = nil
		}
		if string(got) != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
		return err
	})
}

// wantRows compares what Scan and Keys visit, written as in "a=1 b=2".
func wantRows(t *testing.T, s state.Store, prefix, start, all string) {
	t.Helper()
	view(t, s, func(r state.Reader) error {
		if got := rows(t, r, prefix, start); got != all {
			t.Errorf("rows of %q from %q: %q, want %q", prefix, start, got, all)
		}
		return nil
	})
}

// rows lists what Scan visits, and checks that Keys visits the same.
func rows(t *testing.T, r state.Reader, prefix, start string) string {
	t.Helper()
	var all, scanned, keys []string
	for row, err := range r.Scan(prefix, start) {
		if err != nil {
			t.Errorf("Scan: %v", err)
		}
		all = append(all, row.Key+"="+string(row.Value))
		scanned = append(scanned, row.Key)
	}
	for key, err := range r.Keys(prefix, start) {
		if err != nil {
			t.Errorf("Keys: %v", err)
		}
		keys = append(keys, key)
	}
	if s, k := strings.Join(scanned, " "), strings.Join(keys, " "); s != k {
		t.Errorf("Scan visits %q, Keys %q", s, k)
	}
	return strings.Join(all, " ")
}

// number reads a row that holds one; none is 0.
func number(r state.Reader, key string) (int, error) {
	value, err := r.Get(key)
	if errors.Is(err, state.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}
