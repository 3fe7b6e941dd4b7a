package state_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
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

// rows is a reader of these rows, in order, which makes no garbage.
type rows struct {
	state.Reader
	all []state.Row
}

func (r rows) Scan(_, start string) iter.Seq2[state.Row, error] {
	return func(yield func(state.Row, error) bool) {
		for _, row := range r.all {
			if row.Key >= start && !yield(row, nil) {
				return
			}
		}
	}
}

// Select finds what is wanted, fails where Scan does, and makes no garbage of the rest.
func TestSelect(t *testing.T) {
	var r rows
	for i := range 1000 {
		r.all = append(r.all, state.Row{Key: fmt.Sprintf("word/%03d", i), Value: fmt.Appendf(nil, "%q", fmt.Sprintf("word %d \\", i))})
	}
	find := func(start string, wanted func(string, *string) bool) (found []string, err error) {
		for e, err := range words.Select(r, "", start, wanted) {
			if err != nil {
				return found, err
			}
			found = append(found, e.Key+" "+e.Value)
		}
		return found, nil
	}
	got, err := find("500", func(key string, row *string) bool { return key == "600" || strings.HasSuffix(*row, "77 \\") })
	want := []string{"577 word 577 \\", "600 word 600 \\", "677 word 677 \\", "777 word 777 \\", "877 word 877 \\", "977 word 977 \\"}
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("found %q, %v", got, err)
	}
	r.all[700].Value = []byte(`"a" b`)
	if got, err := find("600", func(key string, _ *string) bool { return key == "650" }); len(got) != 1 || err == nil {
		t.Errorf("beside a row that is no JSON: %q, %v", got, err)
	}

	plain := rows{all: r.all[:700]}
	for i := range plain.all {
		plain.all[i].Value = []byte(`"a word that is long enough to be a piece of memory of its own"`)
	}
	made := testing.AllocsPerRun(3, func() {
		for range words.Select(plain, "", "", func(string, *string) bool { return false }) {
			t.Error("found what nobody wanted")
		}
	})
	if made > 350 {
		t.Errorf("%v pieces of memory for %d rows that nobody wanted", made, len(plain.all))
	}
}
