package images

import (
	"errors"
	"testing"

	"walt/state"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, s := range []string{"bobby/c", "bob/b", "bob/a:2", "bob/a", "waltplatform/x-default"} {
		update(t, l, func(tx state.Tx) error { return Put(tx, Image{Ref: mustRef(t, s), Models: []Model{"x"}}) })
	}
	update(t, l, func(tx state.Tx) error {
		for name, list := range map[string]func() ([]Image, error){
			"bob/a bob/a:2 bob/b ":                                func() ([]Image, error) { return Of(tx, "bob") },
			"bob/a bob/a:2 bob/b bobby/c waltplatform/x-default ": func() ([]Image, error) { return All(tx) },
		} {
			all, err := list()
			got := ""
			for _, i := range all {
				got += i.Ref.String() + " "
			}
			if err != nil || got != name {
				t.Errorf("got %q, %v, want %q", got, err, name)
			}
		}
		if err := Delete(tx, mustRef(t, "bob/a")); err != nil {
			return err
		}
		if _, err := Get(tx, mustRef(t, "bob/a:latest")); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		return nil
	})
}
