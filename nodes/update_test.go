package nodes

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

var long = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// version is a version of the default image of m1.
func version(name string, age int) images.Image {
	img := defaultOf("m1")
	img.Digest, img.Created = sum(name), long.AddDate(0, age, 0)
	return img
}

// offer has a location offer a version, as FetchLink then finds it.
func (s *shelf) offer(location string, img images.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers = append(s.offers, images.Offer{Location: location, Digest: img.Digest, Created: img.Created})
	s.links[location] = img
}

// updates runs UpdateDefaults and returns what became of each image.
func (l testLab) updates(t testing.TB, dry bool) (all []Update) {
	t.Helper()
	ok(t, l.UpdateDefaults(t.Context(), "bob", dry, func(u Update) { all = append(all, u) }))
	return all
}

// kept are the names of the default images and what they hold.
func (l testLab) digests(t testing.TB) map[string]string {
	t.Helper()
	all, err := l.Images(t.Context())
	ok(t, err)
	found := map[string]string{}
	for _, img := range all {
		if img.Ref.User == auth.Nobody {
			found[img.Ref.Short()] = img.Digest
		}
	}
	return found
}

func updated(t *testing.T) testLab {
	l := newLab(t, []auth.Name{"bob"}, "free", "owned")
	_, err := l.Acquire(t.Context(), "bob", parse("owned"), consent.Given{})
	ok(t, err)
	l.image(t, version("v1", 0))
	return l
}

// The newest of all locations is taken; free nodes are restarted, owned ones and
// clones are left alone; what was there is kept, and can be put back.
func TestUpdateDefaults(t *testing.T) {
	t.Parallel()
	l := updated(t)
	l.library.offers = []images.Offer{{Location: "down", Err: fault.Failedf("the registry down is down")}}
	l.library.offer("lab", version("v2", 1))
	l.library.offer("docker", version("v3", 3))
	l.library.offer("far", version("v0", -3))
	tag := l.Now().UTC().Format("20060102")

	dry := l.updates(t, true)
	if len(dry) != 1 || dry[0].Newest == nil || dry[0].Newest.Location != "docker" || len(dry[0].Offers) != 4 {
		t.Fatalf("a dry run: %+v", dry)
	}
	if got := l.digests(t); len(got) != 1 || got["m1-default"] != sum("v1") {
		t.Fatalf("after a dry run: %v", got)
	}
	got := l.updates(t, false)
	if len(got) != 1 || got[0].Err != nil || got[0].Kept.Tag != tag || len(got[0].Changes) != 1 || got[0].Changes[0].Node != "free" {
		t.Fatalf("an update: %+v", got)
	}
	if got := l.digests(t); len(got) != 2 || got["m1-default"] != sum("v3") || got["m1-default:"+tag] != sum("v1") {
		t.Errorf("after an update: %v", got)
	}
	if mine, err := l.Own(t.Context(), "bob", "m1-default"); err != nil || mine.Digest != sum("m1") {
		t.Errorf("the clone became %+v, %v", mine, err)
	}
	equal(t, "owners", l.owners(t, "free", "owned"), auth.Nobody, "bob")
	if again := l.updates(t, false); len(again) != 1 || again[0].Newest != nil || again[0].Changes != nil {
		t.Errorf("again: %+v", again)
	}

	for _, want := range []string{"v1", "v3", "v1"} { // putting back what was put back
		back, changes, err := l.PutBack(t.Context(), "bob", "m1-default")
		ok(t, err)
		if got := l.digests(t); back.Digest != sum(want) || got["m1-default"] != sum(want) || len(got) != 2 || len(changes) != 1 {
			t.Errorf("put back %+v: %v, %v, want %s", back, got, changes, want)
		}
	}
	if refs, err := l.Replaced(t.Context()); err != nil || len(refs) != 1 || refs[0] != images.DefaultRef("m1") {
		t.Errorf("what can be put back is %v, %v", refs, err)
	}
	if events := l.events(t, journal.Image); len(events) < 4 {
		t.Errorf("the log tells only %v", events)
	}
	sound(t, l.Store)
}

// What is wrong with the newest one leaves everything as it was.
func TestUpdateThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(testLab)
		named   string
	}{
		"download": {func(l testLab) { l.library.fail(fault.Failedf("lab broke the connection")) }, "broke"},
		"label": {func(l testLab) {
			img := l.library.links["lab"]
			img.Models = []images.Model{"m2"}
			l.library.links["lab"] = img
		}, "m1"},
		"somebody was first": {func(l testLab) { l.library.before = func() { l.image(t, version("v5", 9)) } }, "already updated by someone else"},
	} {
		l := updated(t)
		l.library.offer("lab", version("v2", 1))
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
		_, _, err := l.PutBack(t.Context(), "bob", "m1-default")
		wantFault(t, err, fault.Failed, "m1-default", "nothing to put back")
	}
	l := updated(t)
	if got := l.updates(t, false); len(got) != 1 || got[0].Newest != nil || got[0].Err != nil {
		t.Errorf("nothing is offered: %+v", got)
	}
	_, _, err := l.PutBack(t.Context(), "bob", "m2-default")
	wantFault(t, err, fault.Failed, "m2-default")
}

// What was fetched is checked against the lab as it is when the download ends.
func TestReceive(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{})
	ok(t, err)
	from := images.Link{Location: "lab", Ref: ref("ann/tool")}
	fetched := images.Image{Ref: from.Ref, Digest: sum("tool"), Models: []images.Model{"m1"}}
	mine, other := ref("bob/m1-default"), fetched
	other.Models = []images.Model{"m2"}

	may := func(img images.Image, to images.Ref, force bool, c consent.Given) error {
		err := l.MayReceive(t.Context(), img, from, to, force, c)
		_, result, did := l.Receive(t.Context(), img, from, to, force, c)
		if (err == nil) != (did == nil) || err != nil && err.Error() != did.Error() {
			t.Errorf("it was foretold that %v, and then %v (%+v)", err, did, result)
		}
		return did
	}
	ok(t, may(fetched, ref("bob/tool"), false, consent.Given{}))
	wantFault(t, may(fetched, ref("bob/tool"), false, consent.Given{}), fault.Failed, "tool", "already")
	wantFault(t, may(other, mine, true, consent.Given{}), fault.Failed, "n1", "m2")
	contest := wantContest(t, may(fetched, mine, true, consent.Given{}), false, "n1 bob")
	ok(t, may(fetched, mine, true, consent.Given{Shown: contest.Nodes}))
	wantFault(t, may(fetched, ref("zoe/tool"), false, consent.Given{}), fault.Failed)
	got, err := l.Own(t.Context(), "bob", "m1-default")
	if err != nil || got.Digest != fetched.Digest {
		t.Errorf("it became %+v, %v", got, err)
	}
	sound(t, l.Store)
}

func TestWorkingSetChanges(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1")
	_, err := l.Acquire(t.Context(), "bob", parse("n1"), consent.Given{})
	ok(t, err)
	_, _, err = l.Clone(t.Context(), ref("bob/m1-default"), ref("bob/spare"), false, consent.Given{})
	ok(t, err)
	wantFault(t, l.RemoveImage(t.Context(), "bob", "m1-default"), fault.Failed, "m1-default", "n1", "remove")
	wantFault(t, l.RenameImage(t.Context(), "bob", "m1-default", "x"), fault.Failed, "m1-default", "n1", "rename")
	wantFault(t, l.RenameImage(t.Context(), "bob", "spare", "m1-default"), fault.Failed, "m1-default", "already")
	wantFault(t, l.RenameImage(t.Context(), "bob", "spare", "Bad Name"), fault.Usage, "Bad Name")
	wantFault(t, l.RenameImage(t.Context(), "bob", "none", "x"), fault.Failed, "none")
	wantFault(t, l.RemoveImage(t.Context(), "alice", "spare"), fault.Failed, "spare")
	ok(t, l.RenameImage(t.Context(), "bob", "spare", "store"))
	wantFault(t, l.RemoveImage(t.Context(), "bob", "spare"), fault.Failed, "spare")
	ok(t, l.RemoveImage(t.Context(), "bob", "store"))
	equal(t, "log", l.events(t, journal.Image)[2:], "bob : bob/spare -> bob/store, renamed", "bob : bob/store -> , removed")
	sound(t, l.Store)
}

// Who may stop what, and that the others go on.
func TestJobs(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"})
	run := func(user auth.Name, what string) (context.Context, func()) {
		ctx, report, end := l.Transfer(t.Context(), user, what)
		report(images.Progress{Done: 3, Total: 9})
		report(images.Progress{Layer: sum("x"), Done: 1, Total: 1, Finished: true})
		return ctx, end
	}
	bobs, endBobs := run("bob", "lab:ann/tool")
	carols, endCarols := run("carol", "lab:ann/tool")
	all, err := l.Jobs(t.Context())
	ok(t, err)
	want := []Job{
		{ID: "1", What: "lab:ann/tool", User: "bob", Running: true, Done: 3, Total: 9},
		{ID: "2", What: "lab:ann/tool", User: "carol", Running: true, Done: 3, Total: 9},
	}
	if !slices.Equal(all, want) {
		t.Errorf("the jobs are %+v", all)
	}
	wantFault(t, l.CancelJob(t.Context(), "bob", "2"), fault.Failed, "2", "carol", "administrator")
	wantFault(t, l.CancelJob(t.Context(), "bob", "3"), fault.Failed, "3")
	wantFault(t, l.RetryJob(t.Context(), "bob", "1"), fault.Failed, "1", "bob")
	ok(t, l.CancelJob(t.Context(), "bob", "1"))
	<-bobs.Done()
	if !errors.Is(context.Cause(bobs), errCancelled) || carols.Err() != nil {
		t.Errorf("bob's ended with %v, carol's with %v", context.Cause(bobs), carols.Err())
	}
	ok(t, l.CancelJob(t.Context(), "alice", "2")) // an administrator
	<-carols.Done()
	endBobs()
	endCarols()
	if all, err := l.Jobs(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("after the end: %+v, %v", all, err)
	}
}

// A download that is stopped while it runs stays stopped until it is retried.
func TestStoppedDownload(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	release := l.library.hold()
	l.node(t, "n2", "m2")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	until := func(what string, is func(Job) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			all, err := l.Jobs(t.Context())
			ok(t, err)
			if len(all) == 1 && is(all[0]) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("never %s: %+v", what, all)
			}
		}
	}
	until("running", func(j Job) bool { return j.ID == DownloadID("m2") && j.Running })
	ok(t, l.CancelJob(t.Context(), "bob", DownloadID("m2")))
	until("stopped", func(j Job) bool { return j.Stopped && !j.Running && j.Tries == 1 && j.Error != "" })
	l.library.tried()
	release()
	ok(t, l.Retry(t.Context())) // that the registries changed does not wake it
	if d := l.device(t, "n2"); d.Kind != Unknown || len(l.library.tried()) > 0 {
		t.Errorf("it went on: %+v", d)
	}
	ok(t, l.RetryJob(t.Context(), "bob", DownloadID("m2")))
	for deadline := time.Now().Add(10 * time.Second); l.device(t, "n2").Kind != Node; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not tried again")
		}
	}
	cancel()
	ok(t, <-ended)
}

// A newer default image that is not for its model is not taken: nodes of that
// model that somebody owns could not be given back any more.
func TestUpdateLacksTheModel(t *testing.T) {
	t.Parallel()
	l := updated(t)
	other := version("v2", 1)
	other.Models = []images.Model{"m9"}
	l.library.offer("lab", other)
	all := l.updates(t, false)
	if len(all) != 1 {
		t.Fatalf("updates: %+v", all)
	}
	wantFault(t, all[0].Err, fault.Failed, "m1", "walt.node.models")
	_, err := l.Release(t.Context(), "bob", parse("owned"))
	ok(t, err)
	sound(t, l.Store)
}
