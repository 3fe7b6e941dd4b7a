package images_test

import (
	"context"
	"testing"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
)

// Who may stop what, and that the others go on.
func TestJobs(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob", "carol")
	tool := images.Image{Ref: ref("ann/tool"), Digest: sum("tool"), Models: []images.Model{"m1"}}
	l.shelf.links["lab"] = tool
	begun, goOn := make(chan struct{}), make(chan struct{})
	l.shelf.before = func() {
		begun <- struct{}{}
		<-goOn
	}
	ends := make(chan error, 2)
	for _, user := range []auth.Name{"bob", "carol"} {
		go func() { // ends before the test
			_, err := l.CloneFrom(t.Context(), images.Link{Location: "lab", Ref: tool.Ref}, images.Ref{User: user, Name: "tool", Tag: "latest"}, images.Terms{})
			ends <- err
		}()
		<-begun
	}
	all, err := l.Jobs(t.Context())
	ok(t, err)
	equal(t, "jobs", all,
		images.Job{ID: "1", What: "lab:ann/tool", User: "bob", Running: true, Done: 3, Total: 9},
		images.Job{ID: "2", What: "lab:ann/tool", User: "carol", Running: true, Done: 3, Total: 9})
	wantFault(t, l.CancelJob(t.Context(), "bob", "2"), fault.Failed, "2", "carol", "administrator")
	wantFault(t, l.CancelJob(t.Context(), "bob", "3"), fault.Failed, "3")
	wantFault(t, l.RetryJob(t.Context(), "bob", "1"), fault.Failed, "1", "bob")
	ok(t, l.CancelJob(t.Context(), "bob", "1"))
	goOn <- struct{}{}
	goOn <- struct{}{}
	one, other := <-ends, <-ends
	if one == nil {
		one, other = other, one
	}
	wantFault(t, one, fault.Interrupted, "cancelled")
	ok(t, other)
	if bobs, carols := l.names(t, "bob"), l.names(t, "carol"); len(bobs) != 0 || len(carols) != 1 {
		t.Errorf("bob has %v, carol %v", bobs, carols)
	}
	if all, err := l.Jobs(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("after the end: %+v, %v", all, err)
	}

	go func() { // ends before the test
		_, err := l.CloneFrom(t.Context(), images.Link{Location: "lab", Ref: tool.Ref}, ref("carol/other"), images.Terms{})
		ends <- err
	}()
	<-begun
	ok(t, l.CancelJob(t.Context(), "alice", "3")) // an administrator
	goOn <- struct{}{}
	wantFault(t, <-ends, fault.Interrupted, "cancelled")
}

// Who waits for a default image sees the download among the jobs, and may cancel it.
func TestObtainIsAJob(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	defer l.shelf.hold()()
	l.shelf.images["m2"] = defaultOf("m2")
	ended := make(chan error)
	go func() { ended <- l.Obtain(t.Context(), "bob", "m2", nil) }() // ends when it is cancelled
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		all, err := l.Jobs(t.Context())
		ok(t, err)
		if len(all) == 1 && all[0].User == "bob" && all[0].What == "waltplatform/m2-default" {
			ok(t, l.CancelJob(t.Context(), "bob", all[0].ID))
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the jobs are %+v", all)
		}
	}
	wantFault(t, <-ended, fault.Interrupted, "cancelled")
}

// A download that is stopped while it runs stays stopped until it is retried.
func TestStoppedDownload(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	release := l.shelf.hold()
	l.shelf.images["m2"] = defaultOf("m2")
	l.want(t, "m2")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	until := func(what string, is func([]images.Job) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			all, err := l.Jobs(t.Context())
			ok(t, err)
			if is(all) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("never %s: %+v", what, all)
			}
		}
	}
	id := images.DownloadID("m2")
	until("running", func(all []images.Job) bool { return len(all) == 1 && all[0].ID == id && all[0].Running })
	ok(t, l.CancelJob(t.Context(), "bob", id))
	until("stopped", func(all []images.Job) bool {
		return len(all) == 1 && all[0].Stopped && !all[0].Running && all[0].Tries == 1 && all[0].Error != ""
	})
	l.shelf.tried()
	release()
	ok(t, l.RetryDownloads(t.Context())) // that the registries changed does not wake it
	if len(l.fleet.waits()) != 1 || len(l.shelf.tried()) > 0 {
		t.Error("it went on")
	}
	ok(t, l.RetryJob(t.Context(), "bob", id))
	until("done", func(all []images.Job) bool { return len(all) == 0 && len(l.fleet.waits()) == 0 })
	cancel()
	ok(t, <-ended)
}
