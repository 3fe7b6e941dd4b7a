package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"walt/auth"
	"walt/images"
	"walt/state"
)

// errCrash is what a command gets whose server ends under it.
var errCrash = errors.New("the server is gone")

// rough is a store to which things happen at a commit that writes, mostly the next one: the
// server crashes just before or just after it, or somebody else's command comes
// between what the transaction read and its commit.
type rough struct {
	state.Store
	died chan struct{} // closed when the server crashes; nil: it does not

	mu            sync.Mutex
	before, after bool // crash so
	spare         int  // commits before that
	between       func()
}

// crash has the server crash after so many more commits, after the next one or before it; -1:
// it does not.
func (s *rough) crash(spare int, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare, s.after, s.before = spare, spare >= 0 && after, spare >= 0 && !after
}

// interrupt has something happen in the middle of the next commit that writes.
func (s *rough) interrupt(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between = f
}

// take returns what is to happen between, which happens once.
func (s *rough) take() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	between := s.between
	s.between = nil
	return between
}

// dies reports whether the server crashes at a commit, before or after it.
func (s *rough) dies(after bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare > 0 {
		if after {
			s.spare--
		}
		return false
	}
	if after && s.after || !after && s.before {
		if !isClosed(s.died) {
			close(s.died)
		}
		return true
	}
	return false
}

func (s *rough) View(ctx context.Context, f func(state.Reader) error) error {
	if isClosed(s.died) {
		return errCrash
	}
	return s.Store.View(ctx, f)
}

func (s *rough) Update(ctx context.Context, f func(state.Tx) error) (state.Version, error) {
	if isClosed(s.died) {
		return 0, errCrash
	}
	wrote := false
	v, err := s.Store.Update(ctx, func(tx state.Tx) error {
		w := writes{Tx: tx}
		if err := f(&w); err != nil {
			return err
		}
		if wrote = w.any; !wrote {
			return nil
		}
		if between := s.take(); between != nil {
			between()
		}
		if s.dies(false) {
			return errCrash
		}
		return nil
	})
	if err == nil && wrote && s.dies(true) {
		return 0, errCrash
	}
	return v, err
}

// writes notes whether a transaction wrote.
type writes struct {
	state.Tx
	any bool
}

func (w *writes) Put(key string, value []byte) error {
	w.any = true
	return w.Tx.Put(key, value)
}

func (w *writes) Delete(key string) error {
	w.any = true
	return w.Tx.Delete(key)
}

// downloads are the default images that are wanted, as images keeps them.
var downloads = state.NewTable[struct{}]("download")

// broken returns what is wrong in a store, nothing when the invariant holds:
// each node boots exactly one image, which exists and lists its model, so that
// it has one owner, who exists, or is free.
func broken(t testing.TB, s state.Store) (wrong []string) {
	t.Helper()
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	ok(t, s.View(t.Context(), func(r state.Reader) error {
		count, indexed := 0, map[string]images.Model{}
		for e, err := range devices.Scan(r, "", "") {
			ok(t, err)
			count++
			d := e.Value
			if e.Key != string(d.Name) {
				complain("the row %s is of %s", e.Key, d.Name)
			}
			if d.Kind == Node {
				indexed[ownedKey(d.Owner(), d.Name)] = d.Model
			}
			if holder, err := macs.Get(r, string(d.MAC)); err != nil || holder != d.Name {
				complain("the MAC address of %s is of %q (%v)", d.Name, holder, err)
			}
			if d.Kind != Node {
				_, err := downloads.Get(r, string(d.Model))
				if !d.Image.IsZero() || d.Model != "" && err != nil {
					complain("%s, unknown, boots %q, or nobody downloads %s: %v", d.Name, d.Image, d.Model, err)
				}
				continue
			}
			img, err := images.Get(r, d.Image)
			if err != nil || img.Ref != d.Image || !img.Boots(d.Model) {
				complain("%s of model %s boots %s, which is for %v (%v)", d.Name, d.Model, d.Image, img.Models, err)
			}
			if here, err := auth.Exists(r, d.Owner()); err != nil || !here && !d.Free() || d.Since.IsZero() {
				complain("%s is owned by %s since %v (%v)", d.Name, d.Owner(), d.Since, err)
			}
		}
		for e, err := range owners.Scan(r, "", "") {
			ok(t, err)
			if model, is := indexed[e.Key]; !is || model != e.Value {
				complain("%s of model %s is in the index of owners, and %q in the devices", e.Key, e.Value, model)
			}
			delete(indexed, e.Key)
		}
		for key := range indexed {
			complain("%s is not in the index of owners", key)
		}
		addresses := 0
		for _, err := range macs.Keys(r, "", "") {
			ok(t, err)
			addresses++
		}
		if addresses != count {
			complain("%d MAC addresses of %d devices", addresses, count)
		}
		for model, err := range downloads.Keys(r, "", "") {
			ok(t, err)
			if _, err := images.Get(r, images.DefaultRef(images.Model(model))); err == nil {
				complain("%s is here and still downloaded", images.DefaultRef(images.Model(model)))
			}
		}
		all, err := images.All(r)
		ok(t, err)
		for _, img := range all {
			if here, err := auth.Exists(r, img.Ref.User); err != nil || !here && img.Ref.User != auth.Nobody {
				complain("the owner of %s is gone (%v)", img.Ref, err)
			}
		}
		return nil
	}))
	return wrong
}

// sound fails the test unless the invariant holds.
func sound(t testing.TB, s state.Store) {
	t.Helper()
	if wrong := broken(t, s); len(wrong) > 0 {
		t.Fatalf("the invariant is broken: %q", slices.Compact(wrong))
	}
}
