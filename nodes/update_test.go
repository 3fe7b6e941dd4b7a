package nodes

import (
	"slices"
	"testing"

	"walt/fault"
	"walt/images"
)

// update updates the default images, and returns what became of that of m1.
func (l testLab) update(t *testing.T) (of Update) {
	t.Helper()
	ok(t, l.UpdateDefaults(t.Context(), "alice", false, func(u Update) { of = u }))
	return of
}

// digest is that of the default image of m1.
func (l testLab) digest(t *testing.T) string {
	t.Helper()
	all, err := l.Images(t.Context())
	ok(t, err)
	i := slices.IndexFunc(all, func(img images.Image) bool { return img.Ref == images.DefaultRef("m1") })
	return all[i].Digest
}

func TestUpdateDefaultsAndPutBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1", "n2")
	_, err := l.Acquire(t.Context(), "alice", parse("n1"), Consent{})
	ok(t, err)
	first := l.digest(t)
	_, _, err = l.PutBack(t.Context(), "alice", "m1-default")
	wantFault(t, err, fault.Failed, "m1-default", "nothing to put back")

	l.library.publish("m1", "m1")
	u := l.update(t)
	ok(t, u.Err)
	if second := l.digest(t); second == first || len(u.Changes) != 1 || u.Changes[0].Node != "n2" {
		t.Errorf("%s became %s, and %v", first, second, u.Changes)
	}
	if u = l.update(t); u.Newest != nil {
		t.Errorf("updated to what it is: %+v", u)
	}
	_, changes, err := l.PutBack(t.Context(), "alice", "m1-default")
	ok(t, err)
	if l.digest(t) != first || len(changes) != 1 {
		t.Errorf("put back: %s and %v", l.digest(t), changes)
	}
	sound(t, l.Store)
}

// TestUpdateLacksTheModel publishes a newer default image that is not for its
// model: taken, it would leave owners with nodes that cannot be given back.
func TestUpdateLacksTheModel(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1")
	_, err := l.Acquire(t.Context(), "alice", parse("n1"), Consent{})
	ok(t, err)
	l.library.publish("m1", "m9")
	wantFault(t, l.update(t).Err, fault.Failed, "m1", "walt.node.models")
	_, err = l.Release(t.Context(), "alice", parse("n1"))
	ok(t, err)
	l.node(t, "n3", "m1")
	sound(t, l.Store)
}
