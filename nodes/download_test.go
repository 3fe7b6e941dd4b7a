package nodes

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

// run starts the lab until the test, or the one who calls stop, ends it. Inside
// synctest.Test it returns when the lab has nothing to do for now.
func (l testLab) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- l.serve(ctx) }()
	synctest.Wait()
	running := true
	stop = func() {
		if running {
			running = false
			cancel()
			ok(t, <-stopped)
		}
	}
	t.Cleanup(stop)
	return stop
}

// serve runs the lab and the downloads of default images until ctx ends.
func (l testLab) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error { return l.Images.Run(ctx) })
	return g.Wait()
}

// again is another server on the store of one that has stopped.
func (l testLab) again() testLab { return over(l.Store, time.Now, l.library) }

// kinds lists what the devices are.
func (l testLab) kinds(t *testing.T, names ...Name) (all []Kind) {
	t.Helper()
	for _, n := range names {
		all = append(all, l.device(t, n).Kind)
	}
	return all
}

// waiting describes the downloads.
func (l testLab) waitingFor(t *testing.T) (all []string) {
	t.Helper()
	jobs, err := l.Images.Jobs(t.Context())
	ok(t, err)
	for _, job := range jobs {
		all = append(all, strings.TrimSpace(strings.TrimPrefix(job.ID, images.DownloadID(""))+" "+job.Error))
	}
	return all
}

var errDown = fault.Failedf("the registry is down")

// TestDevicesShareADownload registers devices before and while it runs.
func TestDevicesShareADownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		release := l.library.hold()
		l.node(t, "n1", "m2")
		l.node(t, "n2", "m2")
		l.run(t)
		l.node(t, "n3", "m2")
		_, err := l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m2", Host: Simulated})
		ok(t, err)
		synctest.Wait()
		equal(t, "kinds", l.kinds(t, "n1", "n2", "n3", "v1"), Unknown, Unknown, Unknown, Unknown)
		equal(t, "downloads", l.waitingFor(t), "m2")
		sound(t, l.Store)

		release()
		synctest.Wait()
		equal(t, "kinds", l.kinds(t, "n1", "n2", "n3", "v1"), Node, Node, Node, Node)
		equal(t, "downloads", l.waitingFor(t))
		equal(t, "started", l.grid.take(), "v1")
		if n := len(l.library.tried()); n != 1 {
			t.Errorf("there were %d downloads", n)
		}
		sound(t, l.Store)
		equal(t, "events", l.events(t, journal.Download),
			"server :  -> waltplatform/m2-default, begun", "server :  -> waltplatform/m2-default, done, "+sum("pair"))
		l.node(t, "n4", "m2")
		equal(t, "kind of a later one", l.kinds(t, "n4"), Node)
	})
}

// TestForgottenDevicesWantNoDownload: not even one that is stopped, which nothing tries again.
func TestForgottenDevicesWantNoDownload(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.node(t, "n1", "m2")
	l.node(t, "n2", "m2")
	ok(t, l.Images.CancelJob(t.Context(), "bob", images.DownloadID("m2")))
	forget := func(name Name) {
		t.Helper()
		_, err := l.Forget(t.Context(), "bob", Only(name), consent.Agreement{})
		ok(t, err)
		sound(t, l.Store)
	}
	forget("n1")
	equal(t, "downloads", l.waitingFor(t), "m2")
	forget("n2")
	equal(t, "downloads", l.waitingFor(t))
}

// TestDownloadSurvivesARestart starts other servers while a download waits for
// its next try, and while it runs.
func TestDownloadSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.library.fail(errDown)
		l.node(t, "n1", "m2")
		stop := l.run(t)
		time.Sleep(20 * time.Second) // its next try comes 31 s after its first
		stop()
		l.library.tried()

		l = l.again()
		stop = l.run(t)
		if tries := l.library.tried(); len(tries) > 0 {
			t.Error("the new server did not wait for the next try")
		}
		release := l.library.hold()
		time.Sleep(20 * time.Second)
		if tries := l.library.tried(); len(tries) != 1 {
			t.Errorf("the new server tried %d times", len(tries))
		}
		stop()
		equal(t, "downloads", l.waitingFor(t), "m2 the registry is down")

		l.library.fail(nil)
		release()
		l = l.again()
		l.run(t)
		equal(t, "kinds", l.kinds(t, "n1"), Node)
	})
}

// TestForgottenDevice forgets the only device that waits, between two tries and
// during one.
func TestForgottenDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.library.fail(errDown)
		l.node(t, "n1", "m2")
		l.run(t)
		l.library.tried()
		_, err := l.Forget(t.Context(), "alice", Only("n1"), consent.Agreement{})
		ok(t, err)
		time.Sleep(time.Minute)
		if n := len(l.library.tried()); n != 0 {
			t.Errorf("tried %d times for a device that is gone", n)
		}
		equal(t, "downloads", l.waitingFor(t))

		l.library.fail(nil)
		release := l.library.hold()
		l.node(t, "n2", "m3")
		synctest.Wait()
		_, err = l.Forget(t.Context(), "alice", Only("n2"), consent.Agreement{})
		ok(t, err)
		release()
		synctest.Wait()
		equal(t, "downloads", l.waitingFor(t))
		sound(t, l.Store)
	})
}

// TestWrongDefaultImage is one that is not for the model that it is named after.
func TestWrongDefaultImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.node(t, "n4", "m4")
		l.run(t)
		equal(t, "kinds", l.kinds(t, "n4"), Unknown)
		equal(t, "downloads", l.waitingFor(t), "m4 waltplatform/m4-default does not list the model m4 in its label walt.node.models")
		_, err := l.Create(t.Context(), "alice", Virtual{Name: "v4", Model: "m4"}, nil)
		wantFault(t, err, fault.Failed, "m4")
		sound(t, l.Store)
	})
}

// TestCreateBringsTheDefaultImage makes a virtual node of a model whose image
// others wait for.
func TestCreateBringsTheDefaultImage(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.node(t, "n1", "m2")
	_, err := l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m2"}, nil)
	ok(t, err)
	equal(t, "owners", l.owners(t, "n1", "v1"), auth.Nobody, "bob")
	equal(t, "downloads", l.waitingFor(t))
	sound(t, l.Store)
}

// TestDeviceWithoutModel is unknown until it tells its model.
func TestDeviceWithoutModel(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	equal(t, "kind", []Kind{l.node(t, "n1", "").Kind}, Unknown)
	equal(t, "downloads", l.waitingFor(t))
	for _, a := range []Announcement{{Name: "n1", MAC: macOf("n2"), Model: "m1"}, {Name: "n2", MAC: macOf("n1"), Model: "m1"}} {
		_, err := l.Register(t.Context(), "alice", a)
		wantFault(t, err, fault.Failed, "n1")
	}
	d := l.node(t, "n1", "m1")
	if d.Kind != Node || !d.Free() || d.Since.IsZero() {
		t.Errorf("it became %+v", d)
	}
	for _, model := range []images.Model{"m1", ""} { // told again, as a script does that runs twice
		again, err := l.Register(t.Context(), "alice", Announcement{Name: "n1", MAC: macOf("n1"), Model: model})
		if ok(t, err); again != d {
			t.Errorf("announced again it is %+v", again)
		}
	}
	_, err := l.Register(t.Context(), "alice", Announcement{Name: "n1", MAC: macOf("n1"), Model: "m2"})
	wantFault(t, err, fault.Failed, "n1")
	sound(t, l.Store)
}
