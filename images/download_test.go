package images_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// run starts the downloads until the test ends. Inside synctest.Test it returns
// when there is nothing to do for now.
func (l lab) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- l.Run(ctx) }() // ends with ctx
	synctest.Wait()
	t.Cleanup(func() {
		cancel()
		ok(t, <-stopped)
	})
}

var errDown = fault.Failedf("the registry is down")

func TestDownloadIsRetriedWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.shelf.images["m2"] = defaultOf("m2")
		l.shelf.fail(errDown)
		l.run(t)
		l.want(t, "m2")
		time.Sleep(400 * time.Second)
		tries := l.shelf.tried()
		var pauses []time.Duration
		for i := range tries[1:] {
			pauses = append(pauses, tries[i+1].Sub(tries[i]).Round(time.Second)/time.Second)
		}
		equal(t, "pauses in seconds", pauses, 1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 64)
		if all, err := l.Jobs(t.Context()); err != nil || len(all) != 1 || all[0].ID != images.DownloadID("m2") || all[0].Error != "the registry is down" {
			t.Errorf("jobs are %+v, %v", all, err)
		}
		equal(t, "events", l.events(t, journal.Download)[:3], "server:  -> waltplatform/m2-default, begun",
			"server:  -> waltplatform/m2-default, try 1 failed: the registry is down; next in 1s",
			"server:  -> waltplatform/m2-default, try 2 failed: the registry is down; next in 2s")

		l.shelf.fail(nil)
		time.Sleep(64 * time.Second)
		synctest.Wait()
		equal(t, "waiting", l.fleet.waits())
	})
}

func TestRetryDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.shelf.fail(errDown)
		l.want(t, "m2")
		l.run(t)
		time.Sleep(200 * time.Second)
		l.shelf.tried()
		ok(t, l.RetryDownloads(t.Context()))
		synctest.Wait()
		if n := len(l.shelf.tried()); n != 1 {
			t.Errorf("tried %d times at once", n)
		}
		time.Sleep(5 * time.Second)
		if n := len(l.shelf.tried()); n != 2 {
			t.Errorf("tried %d times in the next seconds, want it as often as in the beginning", n)
		}
	})
}

// TestDownloadsAtOnce wants more images than are downloaded at the same time.
func TestDownloadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		for _, model := range []images.Model{"m5", "m6", "m7", "m8"} {
			l.shelf.images[model] = defaultOf(model)
			l.want(t, model)
		}
		release := l.shelf.hold()
		l.run(t)
		if n := len(l.shelf.tried()); n != 2 {
			t.Errorf("%d downloads run, want 2", n)
		}
		release()
		synctest.Wait()
		equal(t, "waiting", l.fleet.waits())
		if l.shelf.most != 2 {
			t.Errorf("%d downloads ran at once", l.shelf.most)
		}
	})
}

// TestFullStore has a store that takes no writes: a download that cannot even
// note that it failed is not tried again at once.
func TestFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.shelf.fail(errDown)
		l.want(t, "m2")
		l.Store = full{l.Store}
		l.run(t)
		time.Sleep(10 * time.Second)
		if n := len(l.shelf.tried()); n < 2 || n > 12 {
			t.Errorf("tried %d times in 10 s", n)
		}
	})
}

type full struct{ state.Store }

func (full) Update(context.Context, func(state.Tx) error) (state.Version, error) {
	return 0, errors.New("the disk is full")
}
