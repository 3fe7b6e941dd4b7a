package images_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"walt/auth"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// present are the models of the nodes that are here.
type present struct {
	images.Nodes
	models []images.Model
	asked  func()
}

func (p present) Models(context.Context) ([]images.Model, error) {
	if p.asked != nil {
		p.asked()
	}
	return p.models, nil
}

// shelve puts a default image for each of the models, listing all of them.
func (l lab) shelve(t testing.TB, preferred string, models ...images.Model) {
	t.Helper()
	for _, m := range models {
		l.image(t, images.Image{Ref: images.DefaultRef(m), Digest: sum(string(models[0])), Models: models, Preferred: preferred})
	}
}

// seeded are the images that a user is given while the models are here.
func (l lab) seeded(t testing.TB, user auth.Name, models ...images.Model) (names []string) {
	t.Helper()
	l.Nodes = present{models: models}
	_, seeded, err := l.WorkingSet(t.Context(), user)
	ok(t, err)
	for _, i := range seeded {
		names = append(names, i.Ref.String())
	}
	return names
}

func TestSeed(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob", "carol")
	equal(t, "without defaults", l.seeded(t, "bob", "pc", "rpi"))
	l.shelve(t, "", "pc")
	l.shelve(t, "rpi-all", "rpi-3", "rpi-4")
	l.shelve(t, "", "qemu", "kvm")
	equal(t, "seeded", l.seeded(t, "bob", "pc", "rpi-4", "rpi-3", "unknown", "kvm"), "bob/pc-default", "bob/rpi-all", "bob/qemu-default")
	equal(t, "log", l.events(t, journal.Image), "bob:  -> bob/pc-default, cloned from waltplatform/pc-default",
		"bob:  -> bob/rpi-all, cloned from waltplatform/rpi-4-default", "bob:  -> bob/qemu-default, cloned from waltplatform/kvm-default")

	// once per user, also when they are all removed
	equal(t, "again", l.seeded(t, "bob", "pc"))
	l.update(t, func(tx state.Tx) error {
		for _, name := range []string{"bob/pc-default", "bob/qemu-default", "bob/rpi-all"} {
			if err := images.Delete(tx, ref(name)); err != nil {
				return err
			}
		}
		return nil
	})
	equal(t, "after all are removed", l.seeded(t, "bob", "pc"))
	l.update(t, func(tx state.Tx) error { return images.Forget(tx, "bob") })
	equal(t, "another bob", l.seeded(t, "bob", "pc"), "bob/pc-default")

	// somebody who has an image needs none
	l.image(t, images.Image{Ref: ref("carol/own"), Models: []images.Model{"pc"}})
	equal(t, "carol", l.seeded(t, "carol", "pc"))

	// and nobody gets any who was removed a moment ago
	equal(t, "dave", l.seeded(t, "dave", "pc"))
}

func TestSeedIsCheapWhenDone(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob", "carol")
	l.shelve(t, "", "pc")
	equal(t, "seeded", l.seeded(t, "bob", "pc"), "bob/pc-default")
	l.Store = readOnly{l.Store, t}
	l.seeded(t, "bob", "pc")
	l.seeded(t, "carol", "unknown")
}

type readOnly struct {
	state.Store
	t testing.TB
}

func (r readOnly) Update(context.Context, func(state.Tx) error) (state.Version, error) {
	r.t.Error("the store was written to")
	return 0, nil
}

func TestSeedAtTheSameTime(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	l.shelve(t, "", "pc")
	l.Nodes = present{models: []images.Model{"pc"}}
	var wg sync.WaitGroup
	got := make([][]string, 8)
	for i := range got {
		wg.Go(func() {
			_, seeded, err := l.WorkingSet(t.Context(), "bob")
			if err != nil {
				t.Error(err)
			}
			for _, img := range seeded {
				got[i] = append(got[i], img.Ref.String())
			}
		})
	}
	wg.Wait()
	equal(t, "seeded", slices.Concat(got...), "bob/pc-default")
}

func TestWorkingSetThatAnotherSessionMade(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	mine := defaultOf("m1")
	mine.Ref = ref("bob/m1-default")
	l.Nodes = present{models: []images.Model{"m1"}, asked: func() { l.image(t, mine) }}
	got, seeded, err := l.WorkingSet(t.Context(), "bob")
	ok(t, err)
	if len(got) != 1 || got[0].Ref != mine.Ref || len(seeded) != 0 {
		t.Errorf("got %v, and %v as new", got, seeded)
	}
}
