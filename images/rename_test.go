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
	_, _, err := l.Duplicate(t.Context(), "bob", "m1-default", "spare")
	ok(t, err)
	_, _, err = l.Duplicate(t.Context(), "bob", "m1-default", "spare")
	wantFault(t, err, fault.Failed, "spare", "already")
	wantFault(t, l.Remove(t.Context(), "bob", "m1-default"), fault.Failed, "m1-default", "n1", "remove")
	wantFault(t, l.Rename(t.Context(), "bob", "m1-default", "x"), fault.Failed, "m1-default", "n1", "rename")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "m1-default"), fault.Failed, "m1-default", "already")
	wantFault(t, l.Rename(t.Context(), "bob", "spare", "Bad Name"), fault.Usage, "Bad Name")
	wantFault(t, l.Rename(t.Context(), "bob", "none", "x"), fault.Failed, "none")
	wantFault(t, l.Remove(t.Context(), "alice", "spare"), fault.Failed, "spare")
	ok(t, l.Rename(t.Context(), "bob", "spare", "store"))
	wantFault(t, l.Remove(t.Context(), "bob", "spare"), fault.Failed, "spare")
	ok(t, l.Remove(t.Context(), "bob", "store"))
	equal(t, "left", l.names(t, "bob"), "m1-default")
	equal(t, "log", l.events(t, journal.Image), "bob: walt:bob/m1-default -> bob/spare, cloned",
		"bob: bob/spare -> bob/store, renamed", "bob: bob/store -> , removed")
}
