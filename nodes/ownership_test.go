package nodes

import (
	"context"
	"errors"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// newTeam is a lab of bob and carol in which bob owns n1, carol n2, and n3 is free.
func newTeam(t testing.TB) testLab {
	t.Helper()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3")
	for n, owner := range map[Name]auth.Name{"n1": "bob", "n2": "carol"} {
		_, err := l.Acquire(t.Context(), owner, Only(n), Remarks{}, consent.Agreement{})
		ok(t, err)
	}
	return l
}

// unchanged fails the test if f changed anything in the store, or restarted a node.
func (l testLab) unchanged(t testing.TB, f func()) {
	t.Helper()
	l.grid.take()
	before := rows(t, l.Store)
	f()
	equal(t, "rows", rows(t, l.Store), before...)
	equal(t, "started", l.grid.take())
}

// madeChange is what a command did to a node of the model m1, as is asked below.
func madeChange(n Name, image images.Ref, previous auth.Name, changed bool, reboot RebootOutcome) Change {
	return Change{Node: n, Image: image, Previous: previous, Changed: changed, Reboot: Reboot{Outcome: reboot}}
}

// changesOf leaves out what images the nodes boot, but for their names.
func changesOf(r Result) (all []Change) {
	for _, ch := range r.Changes {
		ch.Model, ch.Digest = "", ""
		all = append(all, ch)
	}
	return all
}

func TestAcquire(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n10", "n2")
	before := l.device(t, "n2").Since
	r, err := l.Acquire(t.Context(), "bob", parse("n10,n2,n2"), Remarks{}, consent.Agreement{})
	ok(t, err)
	mine := ref("bob/m1-default")
	if ch := r.Changes[0]; ch.Model != "m1" || ch.Digest != defaultOf("m1").Digest {
		t.Errorf("%s boots %s on a %q", ch.Node, ch.Digest, ch.Model)
	}
	equal(t, "changes", changesOf(r),
		madeChange("n2", mine, auth.Nobody, true, RebootNone), madeChange("n10", mine, auth.Nobody, true, RebootNone))
	if len(r.Cloned) != 1 || r.Cloned[0].Ref != mine || len(r.Kept) != 0 {
		t.Errorf("cloned %v, kept %v", r.Cloned, r.Kept)
	}
	equal(t, "ownership", l.events(t, journal.Ownership),
		"bob n2:  -> bob, boots bob/m1-default", "bob n10:  -> bob, boots bob/m1-default")
	equal(t, "images", l.events(t, journal.Image), "bob :  -> bob/m1-default, cloned from waltplatform/m1-default")
	if !l.device(t, "n2").Since.After(before) {
		t.Error("Since did not change with the owner")
	}
	sound(t, l.Store)
}

func TestAcquireRefuses(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	for set, named := range map[string][]string{
		"n1":            {"n1", "node boot n1 IMAGE"},
		"n1,n3":         {"n1"},
		"n3,n4,zz*,n33": {"n4", "zz*", "n33", "n3"}, // the last as a near miss
		"my-nodes":      {"n1"},
		"all-switches":  {"all-switches"},
	} {
		l.unchanged(t, func() {
			_, err := l.Acquire(t.Context(), "bob", parse(set), Remarks{}, consent.Agreement{Whoever: true})
			wantFault(t, err, fault.Failed, named...)
		})
	}
	_, err := l.Acquire(t.Context(), "nobody", Only("n3"), Remarks{}, consent.Agreement{})
	wantFault(t, err, fault.Failed, "nobody")
}

func TestAcquireTellsThePreviousOwner(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{})
	shown := wantContest(t, err, false, "n1 bob")
	if since := l.device(t, "n1").Since; !shown.Nodes[0].Since.Equal(since) {
		t.Errorf("carol is shown %v, want %v", shown.Nodes[0].Since, since)
	}
	equal(t, "bob's notices after the question", l.unseen(t, "bob"))

	_, err = l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{Shown: shown.Nodes})
	ok(t, err)
	_, err = l.SetImage(t.Context(), "bob", Only("n1"), "default", Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	equal(t, "bob's notices", l.unseen(t, "bob"), "carol took your node n1")
	equal(t, "carol's notices", l.unseen(t, "carol"), "bob gave your node n1 back: it is free and boots its default image")
	equal(t, "ownership", l.events(t, journal.Ownership)[2:],
		"carol n1: bob -> carol, boots carol/m1-default, confirmed when asked",
		"bob n1: carol -> , boots waltplatform/m1-default, confirmed in advance with --yes")
}

func (l testLab) unseen(t testing.TB, user auth.Name) []string {
	t.Helper()
	texts, err := l.Journal.Unseen(t.Context(), string(user))
	ok(t, err)
	return texts
}

// TestAcquireKeepsAnImageOfTheName is what happens when the working set has an
// image of the name that the clone would get.
func TestAcquireKeepsAnImageOfTheName(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1", "n2")
	same := defaultOf("m1")
	same.Ref = ref("bob/m1-default")
	l.image(t, same)
	r, err := l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	equal(t, "kept", r.Kept)

	other := same
	other.Digest = sum("other")
	l.image(t, other)
	r, err = l.Acquire(t.Context(), "bob", Only("n2"), Remarks{}, consent.Agreement{})
	ok(t, err)
	equal(t, "kept", r.Kept, KeptImage{same.Ref, images.DefaultRef("m1")})
	if len(r.Cloned) > 0 {
		t.Errorf("cloned %v", r.Cloned)
	}

	_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
	ok(t, err)
	other.Models = []images.Model{"m2"}
	l.image(t, other)
	l.unchanged(t, func() {
		_, err = l.Acquire(t.Context(), "bob", parse("n1,n2"), Remarks{}, consent.Agreement{})
		wantFault(t, err, fault.Failed, "m1-default", "m1", "image clone --force walt:waltplatform/m1-default m1-default")
	})
}

// TestTwoModelsShareOneClone acquires nodes of two models that one image is for.
func TestTwoModelsShareOneClone(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	l.image(t, defaultOf("m2"))
	l.image(t, defaultOf("m3"))
	l.node(t, "n2", "m2")
	l.node(t, "n3", "m3")
	r, err := l.Acquire(t.Context(), "bob", parse("all-nodes"), Remarks{}, consent.Agreement{})
	ok(t, err)
	var cloned []images.Ref
	for _, img := range r.Cloned {
		cloned = append(cloned, img.Ref)
	}
	equal(t, "cloned", cloned, ref("bob/m1-default"), ref("bob/pair"))
	if len(r.Kept) > 0 {
		t.Errorf("kept %v, which were made just now", r.Kept)
	}
	for n, img := range map[Name]string{"n1": "bob/m1-default", "n2": "bob/pair", "n3": "bob/pair"} {
		if d := l.device(t, n); d.Image != ref(img) {
			t.Errorf("%s boots %s, want %s", n, d.Image, img)
		}
	}
	sound(t, l.Store)
}

func TestAcquireAnyTakesFreeOnesOnly(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.unchanged(t, func() {
		_, err := l.AcquireAny(t.Context(), "bob", Some{N: 2}, Remarks{})
		wantFault(t, err, fault.InUse, "only 1 of the 2 nodes wanted is free")
		_, err = l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m2"}, Remarks{})
		wantFault(t, err, fault.Failed, "m2", "m1") // the other as a near miss
	})
	r, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m1"}, Remarks{})
	ok(t, err)
	if len(r.Changes) != 1 || r.Changes[0].Node != "n3" {
		t.Errorf("got %v", r.Changes)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.unchanged(t, func() {
		_, err := l.Release(t.Context(), "bob", parse("all-nodes"))
		wantFault(t, err, fault.Failed, "n2 (owned by carol)", "n3 (free)")
		r, err := l.Release(t.Context(), "alice", parse("my-nodes"))
		ok(t, err)
		if len(r.Changes) > 0 {
			t.Errorf("changes %v", r.Changes)
		}
		_, err = l.Release(t.Context(), "alice", parse("my-nodes,my-nodes,zz"))
		wantFault(t, err, fault.Failed, "zz")
	})
	r, err := l.Release(t.Context(), "bob", parse("my-nodes"))
	ok(t, err)
	equal(t, "changes", changesOf(r), madeChange("n1", images.DefaultRef("m1"), "bob", true, RebootNone))
	equal(t, "owners", l.owners(t, "n1", "n2"), auth.Nobody, "carol")
}

func TestSetImage(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	for name, models := range map[string][]images.Model{"bob/mine": {"m1", "m2"}, "bob/other": {"m2"}, "carol/hers": {"m1"}} {
		l.image(t, images.Image{Ref: ref(name), Digest: sum(name), Models: models})
	}
	l.unchanged(t, func() {
		for name, named := range map[string][]string{"other": {"n1", "n3", "m2"}, "hers": {"hers"}, "minee": {"minee", "mine"}} {
			_, err := l.SetImage(t.Context(), "bob", parse("n1,n3"), name, Remarks{}, consent.Agreement{Whoever: true})
			wantFault(t, err, fault.Failed, named...)
		}
		for _, name := range []string{"foo:", ":foo", "a:b:c", "default:x", "Foo"} {
			_, err := l.SetImage(t.Context(), "bob", Only("n1"), name, Remarks{}, consent.Agreement{})
			wantFault(t, err, fault.Usage)
		}
	})
	_, err := l.SetImage(t.Context(), "bob", Only("n3"), "mine", Remarks{}, consent.Agreement{})
	ok(t, err)
	since := l.device(t, "n1").Since
	r, err := l.SetImage(t.Context(), "bob", parse("n1,n3"), "mine", Remarks{}, consent.Agreement{})
	ok(t, err)
	equal(t, "changes", changesOf(r),
		madeChange("n1", ref("bob/mine"), "bob", true, RebootNone), madeChange("n3", ref("bob/mine"), "bob", false, RebootSkipped))
	equal(t, "boots", l.events(t, journal.Boot), "bob n1: bob/m1-default -> bob/mine,")
	if !l.device(t, "n1").Since.Equal(since) {
		t.Error("Since changed, the owner did not")
	}
}

func TestCreateAndRemove(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	r, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	want := madeChange("v1", ref("bob/m1-default"), auth.Nobody, true, RebootOK)
	want.Reboot.Start = true // there was nothing that could reboot
	equal(t, "changes", changesOf(r), want)
	d := l.device(t, "v1")
	if mac, err := ethernet.ParseMAC(string(d.MAC)); err != nil || mac != d.MAC || !d.Virtual() || d.Booted != d.Image {
		t.Errorf("made was %+v (%v)", d, err)
	}
	equal(t, "started", l.grid.take(), "v1")
	l.unchanged(t, func() {
		_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
		wantFault(t, err, fault.Failed, "v1")
		_, err = l.Create(t.Context(), "bob", Virtual{Name: "v2", Model: "m9"}, nil)
		wantFault(t, err, fault.Failed, "no such image")
		_, err = l.Remove(t.Context(), "bob", parse("v1,n1"), consent.Agreement{})
		wantFault(t, err, fault.Failed, "n1", "device forget n1")
		_, err = l.Forget(t.Context(), "bob", parse("v1,n1"), consent.Agreement{})
		wantFault(t, err, fault.Failed, "v1", "node remove v1")
	})
	_, err = l.Remove(t.Context(), "carol", Only("v1"), consent.Agreement{Whoever: true})
	ok(t, err)
	equal(t, "stopped", l.grid.stopped, "v1")
	equal(t, "bob's notices", l.unseen(t, "bob"), "carol removed your node v1")
	sound(t, l.Store)
}

func TestRename(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	l.grid.take()
	l.unchanged(t, func() {
		for _, to := range []Name{"n1", "v1"} {
			_, err := l.Rename(t.Context(), "bob", "v1", to, consent.Agreement{})
			wantFault(t, err, fault.Failed, string(to))
		}
		_, err := l.Rename(t.Context(), "bob", "v9", "v2", consent.Agreement{})
		wantFault(t, err, fault.Failed, "v9", "v1")
	})
	before := l.device(t, "v1")
	after, err := l.Rename(t.Context(), "bob", "v1", "v2", consent.Agreement{})
	ok(t, err)
	before.Name = "v2"
	if after != before {
		t.Errorf("got %+v, want %+v", after, before)
	}
	equal(t, "stopped", l.grid.stopped, "v1")
	equal(t, "started", l.grid.take(), "v2")
	all, err := inFull(l.Mine(t.Context(), "bob"))
	ok(t, err)
	if len(all) != 2 || all[1].Name != "v2" || all[1].State != Up {
		t.Errorf("bob has %v", all)
	}
	sound(t, l.Store)
}

func TestCloneWithForceRestartsWhatBootsIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	_, err = l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	mine, news := ref("bob/m1-default"), images.Image{Ref: ref("alice/new"), Digest: sum("new"), Models: []images.Model{"m1"}}
	l.image(t, news)
	l.unchanged(t, func() {
		_, _, err := l.clone(t.Context(), news.Ref, mine, false, consent.Agreement{})
		wantFault(t, err, fault.Failed, "m1-default", "image clone --force walt:alice/new m1-default")
		_, _, err = l.clone(t.Context(), ref("alice/neww"), mine, true, consent.Agreement{})
		wantFault(t, err, fault.Failed, "alice/neww", "alice/new")
		wrong := images.Image{Ref: ref("alice/wrong"), Digest: sum("wrong"), Models: []images.Model{"m2"}}
		l.image(t, wrong)
		_, _, err = l.clone(t.Context(), wrong.Ref, mine, true, consent.Agreement{Whoever: true})
		wantFault(t, err, fault.Failed, "n1", "v1", "m2")
		_, err = l.Store.Update(t.Context(), func(tx state.Tx) error { return images.Delete(tx, wrong.Ref) })
		ok(t, err)
	})
	_, _, err = l.clone(t.Context(), news.Ref, mine, true, consent.Agreement{})
	shown := wantContest(t, err, false, "n1 bob", "v1 bob")
	img, r, err := l.clone(t.Context(), news.Ref, mine, true, consent.Agreement{Shown: shown.Nodes})
	ok(t, err)
	if img.Ref != mine || img.Digest != news.Digest {
		t.Errorf("made was %+v", img)
	}
	equal(t, "reboots", []RebootOutcome{RebootOutcome(r[0].Outcome), RebootOutcome(r[1].Outcome)}, RebootNone, RebootOK)
	if d := l.device(t, "v1"); d.Digest != news.Digest || !d.Since.Equal(shown.Nodes[1].Since) {
		t.Errorf("v1 booted %s, since %v", d.Digest, d.Since)
	}
	l.grid.take()
	_, _, err = l.clone(t.Context(), news.Ref, mine, true, consent.Agreement{}) // changes nothing, so it does not ask
	ok(t, err)
	equal(t, "started", l.grid.take())
}

func TestRemoveUser(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
	ok(t, err)
	l.unchanged(t, func() {
		_, err := l.RemoveUser(t.Context(), "alice", "bob", Legacy{})
		wantFault(t, err, fault.Failed, "bob", "nodes (2)", "images (1)", "--force", "--heir")
		for _, heir := range []auth.Name{"dave", "bob"} {
			_, err = l.RemoveUser(t.Context(), "alice", "bob", Legacy{Heir: heir})
			wantFault(t, err, fault.Failed, string(heir))
		}
		_, err = l.RemoveUser(t.Context(), "carol", "bob", Legacy{Force: true})
		wantFault(t, err, fault.Failed, "administrators")
		_, err = l.RemoveUser(t.Context(), "alice", "alice", Legacy{Force: true})
		wantFault(t, err, fault.Failed, "last administrator")
	})
	// n1 runs its default image still, as one that cannot be restarted does.
	_, err = l.Release(t.Context(), "bob", Only("n1"))
	ok(t, err)
	_, err = l.Boot(t.Context(), "n1")
	ok(t, err)
	_, err = l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	l.grid.take()
	left, err := l.RemoveUser(t.Context(), "alice", "bob", Legacy{Heir: "carol"})
	ok(t, err)
	equal(t, "passed", left.Passed, images.Bequest{From: ref("bob/m1-default"), To: ref("carol/m1-default-2")})
	equal(t, "owners", l.owners(t, "n1", "v1", "n2"), "carol", "carol", "carol")
	equal(t, "started", l.grid.take())
	d := l.device(t, "v1")
	if d.Booted != d.Image {
		t.Error("v1 is to be restarted, but runs what it should")
	}
	if n1 := l.device(t, "n1"); n1.Booted != ref("waltplatform/m1-default") {
		t.Errorf("n1 is said to have booted %q", n1.Booted)
	}
	sound(t, l.Store)

	left, err = l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true})
	ok(t, err)
	equal(t, "released", left.Released, "n1", "n2", "v1")
	equal(t, "deleted", left.Deleted, ref("carol/m1-default"), ref("carol/m1-default-2"))
	removed := l.events(t, journal.Image)
	equal(t, "in the log", removed[len(removed)-2:], "alice : carol/m1-default -> , removed", "alice : carol/m1-default-2 -> , removed")
	equal(t, "started", l.grid.take(), "v1")
	sound(t, l.Store)
}

// TestCancelledCommandChangesNothing ends the context before the commit.
func TestCancelledCommandChangesNothing(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.Store = &rough{Store: l.Store, between: cancel}
	l.unchanged(t, func() {
		if _, err := l.Acquire(ctx, "bob", Only("n3"), Remarks{}, consent.Agreement{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTheServerReleasesAndBoots(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.unchanged(t, func() {
		for _, free := range []string{"n1,n3", "my-nodes", "n1,nobody"} {
			_, err := l.Release(t.Context(), journal.Server, parse(free))
			if free == "my-nodes" { // the server has none
				ok(t, err)
			} else {
				wantFault(t, err, fault.Failed)
			}
		}
		_, err := l.SetImage(t.Context(), journal.Server, Only("n1"), "bob/m1-default", Remarks{}, consent.Agreement{Whoever: true})
		ok(t, err) // it boots that already
		_, err = l.SetImage(t.Context(), journal.Server, Only("n1"), "m1-default", Remarks{}, consent.Agreement{Whoever: true})
		wantFault(t, err, fault.Usage) // whose?
	})
	before := len(l.events(t, journal.Ownership))
	_, err := l.Release(t.Context(), journal.Server, Only("n1"))
	ok(t, err)
	_, err = l.SetImage(t.Context(), journal.Server, Only("n2"), "bob/m1-default", Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	equal(t, "ownership", l.events(t, journal.Ownership)[before:],
		"server n1: bob -> , boots waltplatform/m1-default", "server n2: carol -> bob, boots bob/m1-default")
	equal(t, "bob's notices", l.unseen(t, "bob"), "the server gave your node n1 back: it is free and boots its default image")
	equal(t, "carol's notices", l.unseen(t, "carol"), "the server passed your node n2 to bob")
	sound(t, l.Store)
}
