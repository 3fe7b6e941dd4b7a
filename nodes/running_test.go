package nodes

import (
	"testing"
	"testing/synctest"
	"time"

	"walt/consent"
	"walt/images"
)

// What runs on a node is what it took, from when it is up until it is known to end,
// whatever it is to boot meanwhile.
func TestRunning(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	def := images.DefaultRef("m1")
	took := Running{ref("bob/m1-default"), sum("m1")}
	running := func(what string, want Running) {
		t.Helper()
		if got := l.state(t, "v1").Running(); got != want {
			t.Errorf("%s: %+v runs, want %+v", what, got, want)
		}
	}
	running("never started", Running{})
	_, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	running("booting", Running{})
	l.Up("v1", "127.0.0.1:1")
	running("up", took)
	_, err = l.SetImage(t.Context(), "carol", parse("v1"), "default", Remarks{}, consent.Agreement{Whoever: true})
	ok(t, err)
	running("told to start on another one", Running{})
	img, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	l.Up("v1", "127.0.0.1:1")
	running("up again", Running{def, img.Digest})
	l.image(t, images.Image{Ref: def, Digest: sum("newer"), Models: []images.Model{"m1"}})
	running("its image changed", Running{def, img.Digest})
	l.Failed("v1", errDamaged)
	running("failed", Running{})
}

// A boot has its boot.timeout anew with each step; one that stands still is cut.
func TestStepsGiveTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.run(t)
		l.comeUp(t, "v2")
		l.grid.take()
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		for _, step := range []Step{StepInitramfs, StepMounting, StepRoot} {
			time.Sleep(170 * time.Second)
			synctest.Wait()
			l.Reached(t.Context(), "v1", step)
			if s := l.state(t, "v1"); s.Step != step || s.StepSince != time.Now().UTC() || s.State != Booting {
				t.Errorf("at step %s it is %+v", step, s.Status)
			}
		}
		l.Reached(t.Context(), "v1", StepRoot)     // again
		l.Reached(t.Context(), "v1", StepMounting) // late
		l.isCutInTime(t, "v1")
		if s := l.state(t, "v1"); s.Step != StepNone {
			t.Errorf("started anew, it is at %q", s.Step)
		}
		l.comeUp(t, "v1")
		l.Reached(t.Context(), "v1", StepMounting) // late
		if s := l.state(t, "v1"); s.State != Up || s.Step != StepUp {
			t.Errorf("up, it is %+v", s.Status)
		}
	})
}

// isCutInTime checks, in a bubble of time, that a node whose boot stands still from now on
// is cut when its boot.timeout of 180 s is over, and not before.
func (l testLab) isCutInTime(t testing.TB, n Name) {
	t.Helper()
	time.Sleep(179 * time.Second)
	synctest.Wait()
	equal(t, "cut before its time", l.grid.take())
	time.Sleep(2 * time.Second)
	synctest.Wait()
	equal(t, "cut", l.grid.take(), n)
}
