package images_test

import (
	"context"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

// version is a version of the default image of m1, so many months old or new.
func version(name string, age int) images.Image {
	img := defaultOf("m1")
	img.Digest, img.Created = sum(name), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, age, 0)
	return img
}

// updates runs UpdateDefaults and returns what became of each image.
func (l lab) updates(t testing.TB, dry bool) (all []images.Update) {
	t.Helper()
	ok(t, l.UpdateDefaults(t.Context(), "bob", dry, images.Terms{}, func(u images.Update) { all = append(all, u) }))
	return all
}

// digests are the names of the default images and what they hold.
func (l lab) digests(t testing.TB) map[string]string {
	t.Helper()
	all, err := l.All(t.Context())
	ok(t, err)
	found := map[string]string{}
	for _, img := range all {
		if img.Ref.User == auth.Nobody {
			found[img.Ref.Short()] = img.Digest
		}
	}
	return found
}

// updated is a lab with a version of the default image, which a free node boots,
// and bob's node on a clone of another one.
func updated(t *testing.T) lab {
	l := newLab(t, "bob")
	mine := defaultOf("m1")
	mine.Ref = ref("bob/m1-default")
	l.image(t, mine)
	l.image(t, version("v1", 0))
	l.fleet.nodes["free"], l.fleet.nodes["owned"] = images.DefaultRef("m1"), mine.Ref
	return l
}

// The newest of all locations is taken; free nodes are restarted, owned ones and
// clones are left alone; what was there is kept, and can be put back.
func TestUpdateDefaults(t *testing.T) {
	t.Parallel()
	l := updated(t)
	l.shelf.offers = []images.Offer{{Location: "down", Err: fault.Failedf("the registry down is down")}}
	l.shelf.offer("lab", version("v2", 1))
	l.shelf.offer("docker", version("v3", 3))
	l.shelf.offer("far", version("v0", -3))
	tag := l.Now().UTC().Format("20060102")

	dry := l.updates(t, true)
	if len(dry) != 1 || dry[0].Newest == nil || dry[0].Newest.Location != "docker" || len(dry[0].Offers) != 4 {
		t.Fatalf("a dry run: %+v", dry)
	}
	if got := l.digests(t); len(got) != 1 || got["m1-default"] != sum("v1") {
		t.Fatalf("after a dry run: %v", got)
	}
	got := l.updates(t, false)
	if len(got) != 1 || got[0].Err != nil || got[0].Kept.Tag != tag || len(got[0].Restarts) != 1 || got[0].Restarts[0].Node != "free" {
		t.Fatalf("an update: %+v", got)
	}
	if got := l.digests(t); len(got) != 2 || got["m1-default"] != sum("v3") || got["m1-default:"+tag] != sum("v1") {
		t.Errorf("after an update: %v", got)
	}
	if mine, err := l.Own(t.Context(), "bob", "m1-default"); err != nil || mine.Digest != sum("m1") {
		t.Errorf("the clone became %+v, %v", mine, err)
	}
	if again := l.updates(t, false); len(again) != 1 || again[0].Newest != nil || again[0].Restarts != nil {
		t.Errorf("again: %+v", again)
	}

	for _, want := range []string{"v1", "v3", "v1"} { // putting back what was put back
		back, restarts, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{})
		ok(t, err)
		if got := l.digests(t); back.Digest != sum(want) || got["m1-default"] != sum(want) || len(got) != 2 || len(restarts) != 1 {
			t.Errorf("put back %+v: %v, %v, want %s", back, got, restarts, want)
		}
	}
	if refs, err := l.Replaced(t.Context()); err != nil || len(refs) != 1 || refs[0] != images.DefaultRef("m1") {
		t.Errorf("what can be put back is %v, %v", refs, err)
	}
	if events := l.events(t, journal.Image); len(events) != 4 {
		t.Errorf("the log tells only %v", events)
	}
}

// What was put back from is not taken again until there is something newer.
func TestUpdateAfterPutBack(t *testing.T) {
	t.Parallel()
	l := updated(t)
	l.shelf.offer("lab", version("v2", 2))
	l.updates(t, false)
	_, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{})
	ok(t, err)
	got := l.updates(t, false)
	if len(got) != 1 || got[0].Newest != nil || got[0].Skipped == nil || got[0].Skipped.Digest != sum("v2") || l.digests(t)["m1-default"] != sum("v1") {
		t.Errorf("it is taken again: %+v", got)
	}
	l.shelf.offer("lab", version("v3", 3))
	if got := l.updates(t, false); len(got) != 1 || got[0].Newest == nil || got[0].Err != nil || l.digests(t)["m1-default"] != sum("v3") {
		t.Errorf("the newer one is not taken: %+v", got)
	}
}

// Free nodes on which somebody works are rebooted only by who agreed to it.
func TestUpdateUnderVisitors(t *testing.T) {
	t.Parallel()
	l := updated(t)
	l.fleet.visitors = map[string][]auth.Name{"free": {"carol"}}
	l.shelf.offer("lab", version("v2", 2))
	var asked []consent.Claim
	run := func(terms images.Terms) images.Update {
		var got images.Update
		ok(t, l.UpdateDefaults(t.Context(), "bob", false, terms, func(u images.Update) { got = u }))
		return got
	}
	if u := run(images.Terms{}); u.Err == nil || l.digests(t)["m1-default"] != sum("v1") {
		t.Errorf("nobody was asked: %+v", u)
	}
	u := run(images.Terms{Ask: func(e *consent.Error) error {
		asked = e.Nodes
		return nil
	}})
	if u.Err != nil || len(asked) != 1 || asked[0].Node != "free" || asked[0].Owner != "carol" || l.digests(t)["m1-default"] != sum("v2") {
		t.Errorf("%+v after %v", u, asked)
	}
	if _, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{}); err == nil {
		t.Error("put back without being asked")
	}
	_, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{Given: consent.Agreement{Whoever: true}})
	ok(t, err)
}

// What is wrong with the newest one leaves everything as it was.
func TestUpdateThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(lab)
		named   string
	}{
		"download": {func(l lab) { l.shelf.fail(fault.Failedf("lab broke the connection")) }, "broke"},
		"label": {func(l lab) {
			img := l.shelf.links["lab"]
			img.Models = []images.Model{"m2"}
			l.shelf.links["lab"] = img
		}, "does not list the model m1 in its label walt.node.models"},
		"somebody was first": {func(l lab) { l.shelf.before = func() { l.image(t, version("v5", 9)) } }, "already updated"},
	} {
		l := updated(t)
		l.shelf.offer("lab", version("v2", 1))
		c.prepare(l)
		got := l.updates(t, false)
		if len(got) != 1 {
			t.Fatalf("%s: %+v", name, got)
		}
		wantFault(t, got[0].Err, fault.Failed, c.named)
		want := sum("v1")
		if name == "somebody was first" {
			want = sum("v5")
		}
		if got := l.digests(t); len(got) != 1 || got["m1-default"] != want {
			t.Errorf("%s: %v", name, got)
		}
		_, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{})
		wantFault(t, err, fault.Failed, "m1-default", "nothing to put back")
	}
	l := updated(t)
	if got := l.updates(t, false); len(got) != 1 || got[0].Newest != nil || got[0].Err != nil {
		t.Errorf("nothing is offered: %+v", got)
	}
	_, _, err := l.PutBack(t.Context(), "bob", "m2-default", images.Terms{})
	wantFault(t, err, fault.Failed, "m2-default")
}

// A default image that machines of its model could not boot does not come to be one,
// from wherever: no node tries it, and nothing changes.
func TestDefaultThatCannotBoot(t *testing.T) {
	t.Parallel()
	l := offered(t)
	hollow := version("hollow", 1)
	hollow.Ref = ref("alice/os")
	l.image(t, hollow)
	tried := false
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		tried = true
		return nil
	}
	same := func(what string) {
		t.Helper()
		if got := l.digests(t); tried || len(got) != 1 || got["m1-default"] != sum("v1") || l.fleet.nodes["free"] != defaultM1 {
			t.Errorf("after %s: %v, tried: %t", what, got, tried)
		}
	}
	l.fleet.unbootable = sum("v2")
	if got := l.updates(t, false); len(got) != 1 || got[0].Restarts != nil || got[0].Kept != (images.Ref{}) {
		t.Errorf("an update: %+v", got)
	} else {
		wantFault(t, got[0].Err, fault.Failed, "cannot be booted")
	}
	same("an update")
	l.fleet.unbootable = hollow.Digest
	_, err := l.setDefault(t, "os")
	wantFault(t, err, fault.Failed, "not made the default image of m1: ", "cannot be booted")
	same("choosing one")
	l.fleet.await = nil
	l.fleet.unbootable = ""
	_, err = l.setDefault(t, "os")
	ok(t, err)
	l.fleet.unbootable = sum("v1")
	_, _, err = l.PutBack(t.Context(), "alice", "m1-default", images.Terms{})
	wantFault(t, err, fault.Failed, "cannot be booted")
	if got := l.digests(t); got["m1-default"] != hollow.Digest {
		t.Errorf("after putting back: %v", got)
	}
}
