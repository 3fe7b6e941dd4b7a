package state_test

import (
	"errors"
	"slices"
	"testing"

	"walt/state"
	"walt/state/badger"
)

var words = state.NewTable[string]("word")

func TestTable(t *testing.T) {
	t.Parallel()
	s, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Update(t.Context(), func(tx state.Tx) error {
		return errors.Join(words.Put(tx, "a/1", "one"), words.Put(tx, "a/2", "two"), words.Put(tx, "b/1", ""), tx.Put("word/x", []byte("{")))
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]struct {
		value string
		found bool
	}{"a/1": {"one", true}, "b/1": {"", true}, "c/1": {"", false}} {
		got, err := state.Read(t.Context(), s, func(r state.Reader) (string, error) {
			v, found, err := words.Find(r, key)
			if found != want.found {
				t.Errorf("%s: found is %v", key, found)
			}
			return v, err
		})
		if got != want.value || err != nil {
			t.Errorf("%s is %q, %v", key, got, err)
		}
	}
	all, err := state.Read(t.Context(), s, func(r state.Reader) ([]string, error) { return words.All(r, "a/") })
	if !slices.Equal(all, []string{"one", "two"}) || err != nil {
		t.Errorf("all under a/: %q, %v", all, err)
	}
	keys, err := state.Read(t.Context(), s, func(r state.Reader) ([]string, error) { return words.AllKeys(r, "a/") })
	if !slices.Equal(keys, []string{"a/1", "a/2"}) || err != nil {
		t.Errorf("all keys under a/: %q, %v", keys, err)
	}
	for name, read := range map[string]func(r state.Reader) error{
		"Find": func(r state.Reader) error { _, _, err := words.Find(r, "x"); return err },
		"All":  func(r state.Reader) error { _, err := words.All(r, ""); return err },
	} {
		if err := s.View(t.Context(), read); err == nil || errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s of a row that is no JSON: %v", name, err)
		}
	}
}
