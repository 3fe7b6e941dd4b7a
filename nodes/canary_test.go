package nodes

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/power"
	"walt/state"
)

var next = ref("waltplatform/m1-default:candidate")

// newCanaries is a lab with the free virtual nodes v1 and v2, which come up only
// when the test has them do so, and a newer version of their default image.
func newCanaries(t testing.TB) testLab {
	l := newPair(t)
	_, err := l.Release(t.Context(), auth.Name("bob").Actor(), parse("my-nodes"))
	ok(t, err)
	l.image(t, images.Image{Ref: next, Digest: sum("new"), Models: []images.Model{"m1"}})
	l.grid.take()
	return l
}

// try has a canary boot the newer version, and returns which one that is.
func (l testLab) try(t testing.TB, not ...string) (node string) {
	t.Helper()
	_, err := l.Change(t.Context(), "server", func(c images.Change) (err error) {
		node, err = c.Try(images.DefaultRef("m1"), next, not)
		return err
	})
	ok(t, err)
	return node
}

func (l testLab) settle(t testing.TB, restart bool) {
	t.Helper()
	_, err := l.Change(t.Context(), "server", func(c images.Change) error { return c.Move(next, images.DefaultRef("m1"), restart) })
	ok(t, err)
}

// Only a free node that is known to come up tells whether an image does.
func TestWhichNodeIsTried(t *testing.T) {
	t.Parallel()
	l := newCanaries(t)
	l.node(t, "n1", "m1") // which never asked what to boot
	l.Up("n1", "127.0.0.1:1")
	if got := l.try(t); got != "" {
		t.Errorf("%s was never up", got)
	}
	l.comeUp(t, "v1")
	l.comeUp(t, "v2")
	_, leave := l.visitors.Enter(t.Context(), "v1", "carol")
	if got := l.try(t); got != "v2" {
		t.Errorf("%q is tried, not the one on which nobody works", got)
	}
	equal(t, "started", l.grid.take(), "v2")
	if got := l.try(t, "v1"); got != "" {
		t.Errorf("%s is tried, which is tried already or not to be", got)
	}
	if got := l.try(t); got != "v1" {
		t.Errorf("%q is tried", got)
	}
	leave()
	l.settle(t, true)
	l.comeUp(t, "v2")
	l.Failed("v2", errDamaged)
	if got := l.try(t); got != "v1" {
		t.Errorf("%q is tried, not the one that boots but was up", got)
	}
	l.settle(t, true)
	l.Down("v1", false, "")
	l.status.change("v1", func(s *Status) { *s = Status{State: Off, seen: true} }) // its host stopped
	if got := l.try(t); got != "" {
		t.Errorf("%s is tried, which is off", got)
	}

	// Who saves power is woken for it, and not what a user switched off.
	l.comeUp(t, "v1")
	l.orderOff(t, "v1")
	if got := l.try(t); got != "" {
		t.Errorf("%s is tried, which bob switched off", got)
	}
}

// A canary that came up goes on, and is one of the free nodes again.
func TestCanaryGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newCanaries(t)
		l.comeUp(t, "v1")
		l.try(t)
		if d := l.device(t, "v1"); !d.Free() || d.Image != next {
			t.Errorf("it is %+v", d)
		}
		idle := func() bool {
			t.Helper()
			seen, err := state.Read(t.Context(), l.Store, func(r state.Reader) (power.Device, error) {
				d, _, err := l.Behind(r, l.device(t, "v1").MAC)
				return d, err
			})
			ok(t, err)
			return seen.Idle
		}
		if idle() {
			t.Error("its power may be saved")
		}
		l.comeUp(t, "v1")
		ok(t, l.Await(t.Context(), next, func(images.Trial) {}))
		l.grid.take()
		def := images.DefaultRef("m1")
		l.image(t, images.Image{Ref: def, Digest: sum("new"), Models: []images.Model{"m1"}})
		l.settle(t, false)
		equal(t, "started", l.grid.take())
		if d := l.device(t, "v1"); d.Image != def || d.Booted != def || d.Digest != sum("new") {
			t.Errorf("afterwards it is %+v", d)
		}
		now, err := l.Wait(t.Context(), []*Device{l.state(t, "v1").Device}, func([]Missing) {})
		if err != nil || len(now) > 0 || !idle() {
			t.Errorf("a reboot is due, or it is not free: %v, %v", now, err)
		}
		sound(t, l.Store)
	})
}

// How a canary ends that does not come up, and that somebody takes.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCanaries(t)
		l.comeUp(t, "v1")
		l.configure(t, "v1", "boot.timeout=10s", "boot.delay=2s")
		l.try(t)
		var last images.Trial
		begun := time.Now()
		err := l.Await(t.Context(), next, func(tr images.Trial) { last = tr })
		wantFault(t, err, fault.Failed, "v1 was not up on it within 12s")
		took := time.Since(begun)
		if took != 12*time.Second || last.Took < 11*time.Second || last != (images.Trial{Node: "v1", State: "booting", Took: last.Took, Limit: took}) {
			t.Errorf("after %v, told of %+v", took, last)
		}

		done := make(chan error, 1)
		await := func() { go func() { done <- l.Await(t.Context(), next, func(images.Trial) {}) }(); synctest.Wait() }
		await()
		l.Failed("v1", errDamaged)
		wantFault(t, <-done, fault.Failed, "v1 cannot boot it: its content is damaged")

		ok(t, errorOf(l.Boot(t.Context(), "v1")))
		await()
		result, err := l.Acquire(t.Context(), "bob", parse("v1"), Remarks{}, consent.Agreement{})
		ok(t, err)
		if err := <-done; !errors.Is(err, images.ErrTaken) {
			t.Errorf("taken from under it: %v", err)
		}
		img, err := state.Read(t.Context(), l.Store, func(r state.Reader) (images.Image, error) { return images.Get(r, result.Changes[0].Image) })
		if err != nil || img.Digest != defaultOf("m1").Digest {
			t.Errorf("who takes it gets %+v, %v", img, err)
		}

		l.comeUp(t, "v2")
		l.try(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- l.Await(ctx, next, func(images.Trial) {}) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		sound(t, l.Store)
	})
}

// A canary has to stay up: one that comes up and goes down again shows that nodes do
// not run that image.
func TestCanaryThatDoesNotStayUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newCanaries(t)
		l.comeUp(t, "v1")
		l.configure(t, "v1", "boot.timeout=20s")
		l.try(t)
		begun := time.Now()
		done := make(chan error, 1)
		await := func() { go func() { done <- l.Await(t.Context(), next, func(images.Trial) {}) }() }
		await()
		for range 3 {
			l.comeUp(t, "v1")
			time.Sleep(8 * time.Second)
			l.Down("v1", true, "")
		}
		wantFault(t, <-done, fault.Failed, "v1 came up on it, and did not stay up")
		if took := time.Since(begun); took > 25*time.Second {
			t.Errorf("that took %v", took)
		}
		begun = time.Now()
		await()
		time.Sleep(15 * time.Second)
		l.comeUp(t, "v1") // in time
		ok(t, <-done)
		if took := time.Since(begun); took != 25*time.Second {
			t.Errorf("a node that stays up took %v", took)
		}
	})
}

// A physical canary that died right after it came up, of which nobody was told.
func TestCanaryThatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, _ := wired(t, time.Hour, nil, "n1")
		l.comeUp(t, "n1")
		l.image(t, images.Image{Ref: next, Digest: sum("new"), Models: []images.Model{"m1"}})
		if got := l.try(t); got != "n1" {
			t.Errorf("%q is tried", got)
		}
		l.configure(t, "n1", "boot.timeout=20s")
		l.comeUp(t, "n1") // nothing listens at its address
		wantFault(t, l.Await(t.Context(), next, func(images.Trial) {}), fault.Failed, "n1 came up on it, and did not stay up")
	})
}

// A physical node that is off to save power is woken for it, if it was up before,
// and stays on while it is tried.
func TestCanaryThatSavesPower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, time.Hour, nil, "n1", "n2")
		l.run(t)
		l.comeUp(t, "n2")
		time.Sleep(3 * time.Hour)
		equal(t, "ports off", r.Dark(), "one:161/1", "one:161/2")
		l.image(t, images.Image{Ref: next, Digest: sum("new"), Models: []images.Model{"m1"}})
		if got := l.try(t); got != "n2" {
			t.Errorf("%q is tried", got)
		}
		time.Sleep(2 * time.Hour)
		equal(t, "ports off while it is tried", r.Dark(), "one:161/1")
		l.comeUp(t, "n2")
		sshd, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		defer sshd.Close()
		l.Up("n2", sshd.Addr().String())
		ok(t, l.Await(t.Context(), next, func(images.Trial) {}))
		l.settle(t, false)
		time.Sleep(3 * time.Hour)
		equal(t, "ports off in the end", r.Dark(), "one:161/1", "one:161/2")
	})
}
