package images_test

import (
	"testing"

	"walt/fault"
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
	wantFault(t, l.Remove(t.Context(), "bob", "m1-default"), fault.Failed, "m1-default", "n1", "remove")
	wantFault(t, l.Rename(t.Context(), "bob", "m1-default", "x", false), fault.Failed, "m1-default", "n1", "rename")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "m1-default", false), fault.Failed, "m1-default", "already")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "Bad Name", false), fault.Usage, "Bad Name")
	wantFault(t, l.Rename(t.Context(), "bob", "none", "x", false), fault.Failed, "none")
	wantFault(t, l.Remove(t.Context(), "alice", "spare"), fault.Failed, "spare")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "m1-default", true), fault.Failed, "m1-default", "already")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "spare", true), fault.Failed, "spare", "already")
	_, _, err = l.Duplicate(t.Context(), "bob", "spare", "spare", true)
	wantFault(t, err, fault.Failed, "spare", "already")
	ok(t, l.Rename(t.Context(), "bob", "spare", "store", false))
	wantFault(t, l.Remove(t.Context(), "bob", "spare"), fault.Failed, "spare")
	ok(t, l.Remove(t.Context(), "bob", "store"))
	equal(t, "left", l.names(t, "bob"), "m1-default")
	equal(t, "log", l.events(t, journal.Image), "bob: walt:bob/m1-default -> bob/spare, cloned",
		"bob: bob/spare -> bob/store, renamed", "bob: bob/store -> , removed")
}
