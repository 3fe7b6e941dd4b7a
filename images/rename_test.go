package images_test

import (
	"errors"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

func TestRenameAndRemove(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	mine := defaultOf("m1")
	mine.Ref = ref("bob/m1-default")
	l.image(t, mine)
	l.fleet.nodes["n1"] = mine.Ref
	_, _, err := l.Duplicate(t.Context(), "bob", "m1-default", "spare", false)
	ok(t, err)
	_, _, err = l.Duplicate(t.Context(), "bob", "m1-default", "spare", false)
	wantFault(t, err, fault.Failed, "spare", "already")
	wantFault(t, l.Remove(t.Context(), "bob", "m1-default", images.Terms{}), fault.Failed, "m1-default", "n1", "remove")
	wantFault(t, l.Rename(t.Context(), "bob", "m1-default", "x", images.Terms{}), fault.Failed, "m1-default", "n1", "rename")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "m1-default", images.Terms{}), fault.Failed, "m1-default", "already")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "Bad Name", images.Terms{}), fault.Usage, "Bad Name")
	wantFault(t, l.Rename(t.Context(), "bob", "none", "x", images.Terms{}), fault.Failed, "none")
	wantFault(t, l.Remove(t.Context(), "alice", "spare", images.Terms{}), fault.Failed, "spare")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "m1-default", images.Terms{Force: true}), fault.Failed, "m1-default", "already")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "spare", images.Terms{Force: true}), fault.Failed, "spare", "already")
	_, _, err = l.Duplicate(t.Context(), "bob", "spare", "spare", true)
	wantFault(t, err, fault.Failed, "spare", "already")
	ok(t, l.Rename(t.Context(), "bob", "spare", "store", images.Terms{}))
	wantFault(t, l.Remove(t.Context(), "bob", "spare", images.Terms{}), fault.Failed, "spare")
	ok(t, l.Remove(t.Context(), "bob", "store", images.Terms{}))
	equal(t, "left", l.names(t, "bob"), "m1-default")
	equal(t, "log", l.events(t, journal.Image), "bob: walt:bob/m1-default -> bob/spare, cloned",
		"bob: bob/spare -> bob/store, renamed", "bob: bob/store -> , removed")
}

// An image that lends its kernel is removed, or gets another name, once the user agrees.
func TestLenderIsRemoved(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	lender := defaultOf("m1")
	for _, name := range []string{"bob/red", "bob/blue"} {
		lender.Ref = ref(name)
		l.image(t, lender)
		l.fleet.borrowers[ref(name)] = []consent.Claim{{Node: "n1", Owner: "carol", Of: ref(name).Short(), Uses: "boots carol/bare with it"}}
	}
	asked := 0
	terms := images.Terms{Ask: func(e *consent.Error) error {
		if asked++; asked == 2 {
			return fault.New(fault.InUse, "not confirmed")
		}
		if e.Nodes[0].Node != "n1" {
			t.Errorf("asked about %+v", e.Nodes)
		}
		return nil
	}}
	ok(t, l.Remove(t.Context(), "bob", "red", terms))
	wantFault(t, l.Remove(t.Context(), "bob", "blue", terms), fault.InUse, "not confirmed")
	wantFault(t, l.Remove(t.Context(), "bob", "none", terms), fault.Failed, "none")
	var contest *consent.Error
	if err := l.Rename(t.Context(), "bob", "blue", "green", images.Terms{}); !errors.As(err, &contest) {
		t.Errorf("renamed without a question: %v", err)
	}
	ok(t, l.Rename(t.Context(), "bob", "blue", "green", images.Terms{Given: consent.Agreement{Whoever: true}}))
	equal(t, "left", l.names(t, auth.Name("bob")), "green")
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
