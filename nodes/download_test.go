package nodes

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// run starts the lab until the test, or the one who calls stop, ends it. Inside
// synctest.Test it returns when the lab has nothing to do for now.
func (l testLab) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- l.Run(ctx) }()
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
	ds, err := l.Downloads(t.Context())
	ok(t, err)
	for _, d := range ds {
		all = append(all, strings.TrimSpace(string(d.Model)+" "+d.Error))
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
	ok(t, l.CancelJob(t.Context(), "bob", DownloadID("m2")))
	forget := func(name Name) {
		t.Helper()
		_, err := l.Forget(t.Context(), "bob", Only(name), consent.Given{})
		ok(t, err)
		sound(t, l.Store)
	}
	forget("n1")
	equal(t, "downloads", l.waitingFor(t), "m2")
	forget("n2")
	equal(t, "downloads", l.waitingFor(t))
}

func TestDownloadIsRetriedWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.library.fail(errDown)
		l.node(t, "n1", "m2")
		l.run(t)
		time.Sleep(400 * time.Second)
		tries := l.library.tried()
		var pauses []time.Duration
		for i := range tries[1:] {
			pauses = append(pauses, tries[i+1].Sub(tries[i]).Round(time.Second)/time.Second)
		}
		equal(t, "pauses in seconds", pauses, 1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 64)
		equal(t, "downloads", l.waitingFor(t), "m2 the registry is down")
		equal(t, "events", l.events(t, journal.Download)[:3], "server :  -> waltplatform/m2-default, begun",
			"server :  -> waltplatform/m2-default, try 1 failed: the registry is down; next in 1s",
			"server :  -> waltplatform/m2-default, try 2 failed: the registry is down; next in 2s")

		l.library.fail(nil)
		time.Sleep(64 * time.Second)
		synctest.Wait()
		equal(t, "kinds", l.kinds(t, "n1"), Node)
	})
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

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.library.fail(errDown)
		l.node(t, "n1", "m2")
		l.run(t)
		time.Sleep(200 * time.Second)
		l.library.tried()
		ok(t, l.Retry(t.Context()))
		synctest.Wait()
		if n := len(l.library.tried()); n != 1 {
			t.Errorf("tried %d times at once", n)
		}
		time.Sleep(5 * time.Second)
		if n := len(l.library.tried()); n != 2 {
			t.Errorf("tried %d times in the next seconds, want it as often as in the beginning", n)
		}
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
		_, err := l.Forget(t.Context(), "alice", Only("n1"), consent.Given{})
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
		_, err = l.Forget(t.Context(), "alice", Only("n2"), consent.Given{})
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
		_, err := l.Create(t.Context(), "alice", "v4", "m4")
		wantFault(t, err, fault.Failed, "m4")
		sound(t, l.Store)
	})
}

// TestDownloadsAtOnce wants more images than are downloaded at the same time.
func TestDownloadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		for _, model := range []images.Model{"m5", "m6", "m7", "m8"} {
			l.library.images[model] = images.Image{Ref: images.DefaultRef(model), Digest: sum(string(model)), Models: []images.Model{model}}
			l.node(t, Name("n-"+string(model)), model)
		}
		release := l.library.hold()
		l.run(t)
		if n := len(l.library.tried()); n != atOnce {
			t.Errorf("%d downloads run, want %d", n, atOnce)
		}
		release()
		synctest.Wait()
		equal(t, "kinds", l.kinds(t, "n-m5", "n-m6", "n-m7", "n-m8"), Node, Node, Node, Node)
		if l.library.most != atOnce {
			t.Errorf("%d downloads ran at once", l.library.most)
		}
	})
}

// TestCreateBringsTheDefaultImage makes a virtual node of a model whose image
// others wait for.
func TestCreateBringsTheDefaultImage(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	l.node(t, "n1", "m2")
	_, err := l.Create(t.Context(), "bob", "v1", "m2")
	ok(t, err)
	equal(t, "owners", l.owners(t, "n1", "v1"), auth.Nobody, "bob")
	equal(t, "downloads", l.waitingFor(t))
	sound(t, l.Store)
}

// TestFullStore has a store that takes no writes: a download that cannot even
// note that it failed is not tried again at once.
func TestFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.library.fail(errDown)
		l.node(t, "n1", "m2")
		l.Store = full{l.Store}
		l.run(t)
		time.Sleep(10 * time.Second)
		if n := len(l.library.tried()); n < 2 || n > 12 {
			t.Errorf("tried %d times in 10 s", n)
		}
	})
}

type full struct{ state.Store }

func (f full) Update(ctx context.Context, do func(state.Tx) error) (state.Version, error) {
	return f.Store.Update(ctx, func(tx state.Tx) error {
		w := writes{Tx: tx}
		if err := do(&w); err != nil || !w.any {
			return err
		}
		return errors.New("the disk is full")
	})
}

// TestDeviceWithoutModel is unknown until it tells its model.
func TestDeviceWithoutModel(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	equal(t, "kind", []Kind{l.node(t, "n1", "").Kind}, Unknown)
	equal(t, "downloads", l.waitingFor(t))
	for _, a := range []Announcement{{"n1", macOf("n2"), "m1", Physical}, {"n2", macOf("n1"), "m1", Physical}} {
		_, err := l.Register(t.Context(), "alice", a)
		wantFault(t, err, fault.Failed, "n1")
	}
	d := l.node(t, "n1", "m1")
	if d.Kind != Node || !d.Free() || d.Since.IsZero() {
		t.Errorf("it became %+v", d)
	}
	for _, model := range []images.Model{"m1", ""} { // told again, as a script does that runs twice
		again, err := l.Register(t.Context(), "alice", Announcement{"n1", macOf("n1"), model, Physical})
		if ok(t, err); again != d {
			t.Errorf("announced again it is %+v", again)
		}
	}
	_, err := l.Register(t.Context(), "alice", Announcement{"n1", macOf("n1"), "m2", Physical})
	wantFault(t, err, fault.Failed, "n1")
	sound(t, l.Store)
}
