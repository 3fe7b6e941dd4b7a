package images

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/journal"
	"walt/state"
)

func update(t testing.TB, l *testLibrary, f func(tx state.Tx) error) {
	t.Helper()
	if _, err := l.store.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// shelve puts a default image for each of the models, listing all of them.
func shelve(t testing.TB, l *testLibrary, preferred string, models ...Model) {
	t.Helper()
	update(t, l, func(tx state.Tx) error {
		for _, m := range models {
			if err := Put(tx, Image{Ref: DefaultRef(m), Digest: "sha256:" + string(models[0]), Models: models, Preferred: preferred}); err != nil {
				return err
			}
		}
		return nil
	})
}

// enrol makes a user.
func enrol(t testing.TB, l *testLibrary, name auth.Name) {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.New(l.store, l.log, l.now).Ensure(t.Context(), name, string(ssh.MarshalAuthorizedKey(key))); err != nil {
		t.Fatal(err)
	}
}

func seeded(t testing.TB, l *testLibrary, user auth.Name, models ...Model) (names []string) {
	t.Helper()
	clones, err := l.Seed(t.Context(), user, models)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range clones {
		names = append(names, i.Ref.String())
	}
	return names
}

func wantSet(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	shelve(t, l, "", "x")
	to := mustRef(t, "bob/mine:1")
	update(t, l, func(tx state.Tx) error {
		from, err := Get(tx, DefaultRef("x"))
		if err != nil {
			return err
		}
		clone, err := Clone(tx, from, to)
		if err != nil {
			return err
		}
		got, err := Get(tx, to)
		if err != nil || got.Digest != from.Digest || got.Ref != to || clone.Ref != to || !got.Boots("x") {
			t.Errorf("got %v, %v", got, err)
		}
		_, err = Clone(tx, from, to)
		wantFault(t, err, "bob/mine:1 exists already")
		return nil
	})
}

func TestSeed(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	enrol(t, l, "bob")
	enrol(t, l, "carol")
	wantSet(t, seeded(t, l, "bob", "pc", "rpi"))
	shelve(t, l, "", "pc")
	shelve(t, l, "rpi-all", "rpi-3", "rpi-4")
	shelve(t, l, "", "qemu", "kvm")
	wantSet(t, seeded(t, l, "bob", "pc", "rpi-4", "rpi-3", "unknown", "kvm"), "bob/pc-default", "bob/rpi-all", "bob/qemu-default")

	var made []string
	err := l.log.History(t.Context(), time.Time{}, time.Now().Add(time.Hour), func(e journal.Event) error {
		if e.Type == journal.User {
			return nil
		}
		if e.Type != journal.Image || e.Actor != "bob" || e.Detail == "" {
			t.Errorf("got the event %+v", e)
		}
		made = append(made, e.To)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(made)
	wantSet(t, made, "bob/pc-default", "bob/qemu-default", "bob/rpi-all")

	// once per user, also when they are all removed
	wantSet(t, seeded(t, l, "bob", "pc"))
	update(t, l, func(tx state.Tx) error {
		for _, name := range made {
			if err := Delete(tx, mustRef(t, name)); err != nil {
				return err
			}
		}
		return nil
	})
	wantSet(t, seeded(t, l, "bob", "pc"))
	update(t, l, func(tx state.Tx) error { return Forget(tx, "bob") })
	wantSet(t, seeded(t, l, "bob", "pc"), "bob/pc-default")

	// somebody who has an image needs none
	update(t, l, func(tx state.Tx) error { return Put(tx, Image{Ref: mustRef(t, "carol/own"), Models: []Model{"pc"}}) })
	wantSet(t, seeded(t, l, "carol", "pc"))

	// and nobody gets any who was removed a moment ago
	wantSet(t, seeded(t, l, "dave", "pc"))
}

func TestSeedIsCheapWhenDone(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	enrol(t, l, "bob")
	enrol(t, l, "carol")
	shelve(t, l, "", "pc")
	wantSet(t, seeded(t, l, "bob", "pc"), "bob/pc-default")
	l.store = readOnly{l.store, t}
	seeded(t, l, "bob", "pc")
	seeded(t, l, "carol", "unknown")
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
	l := newLibrary(t)
	enrol(t, l, "bob")
	shelve(t, l, "", "pc")
	var wg sync.WaitGroup
	got := make([][]string, 8)
	for i := range got {
		wg.Go(func() { got[i] = seeded(t, l, "bob", "pc") })
	}
	wg.Wait()
	wantSet(t, slices.Concat(got...), "bob/pc-default")
}
