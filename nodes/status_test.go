package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
)

// missing has Wait tell of the nodes that it waits for.
type missing struct{ lines []string }

func (m *missing) progress(ns []Missing) {
	line := ""
	for _, n := range ns {
		line += fmt.Sprintf("%s %s;", n.Name, n.State)
	}
	m.lines = append(m.lines, line)
}

// await starts to wait for the nodes of bob.
func (l testLab) await(ctx context.Context, t *testing.T) (*missing, <-chan error) {
	t.Helper()
	mine, err := l.Mine(ctx, "bob")
	ok(t, err)
	var m missing
	done := make(chan error, 1)
	go func() {
		_, err := l.Wait(ctx, slices.Collect(mine.Found()), m.progress)
		done <- err
	}()
	synctest.Wait()
	return &m, done
}

// comeUp is what a node does when it gets power.
func (l testLab) comeUp(t testing.TB, n Name) {
	t.Helper()
	_, err := l.Boot(t.Context(), n)
	ok(t, err)
	l.Up(n, "127.0.0.1:1")
}

// newPair is a lab in which bob owns the virtual nodes v1 and v2, which come up
// only when the test has them do so.
func newPair(t testing.TB) testLab {
	t.Helper()
	l := newLab(t, []auth.Name{"bob", "carol"})
	l.grid.dead = true
	for _, n := range []Name{"v1", "v2"} {
		_, err := l.Create(t.Context(), "bob", Virtual{Name: n, Model: "m1"}, nil)
		ok(t, err)
	}
	return l
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		m, done := l.await(t.Context(), t)
		_, err := l.Boot(t.Context(), "v1")
		ok(t, err)
		synctest.Wait()
		l.Up("v1", "127.0.0.1:1")
		synctest.Wait()
		equal(t, "told", m.lines, "v1 booting;v2 booting;", "v2 booting;")
		l.comeUp(t, "v2")
		ok(t, <-done)

		m, done = l.await(t.Context(), t)
		ok(t, <-done)
		equal(t, "told when all are up", m.lines)
	})
}

// TestWaitIsForTheImage has nodes that are up, but not on what they should boot.
func TestWaitIsForTheImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.comeUp(t, "v1")
		l.comeUp(t, "v2")
		fresh := images.Image{Ref: ref("alice/new"), Digest: sum("new"), Models: []images.Model{"m1"}}
		l.image(t, fresh)
		_, _, err := l.clone(t.Context(), fresh.Ref, ref("bob/m1-default"), true, consent.Agreement{Whoever: true})
		ok(t, err)
		l.Up("v1", "127.0.0.1:1") // the run from before the change, late
		m, done := l.await(t.Context(), t)
		equal(t, "told", m.lines, "v1 booting;v2 booting;")
		l.Down("v2", false, "") // the run from before the change ends
		if got := l.state(t, "v2").State; got != Booting {
			t.Errorf("cut off to start anew, it is %s", got)
		}
		l.comeUp(t, "v1")
		l.comeUp(t, "v2")
		ok(t, <-done)
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.comeUp(t, "v1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		mine, err := l.Mine(ctx, "bob")
		ok(t, err)
		left, err := l.Wait(ctx, slices.Collect(mine.Found()), func([]Missing) {})
		if !errors.Is(err, context.DeadlineExceeded) || len(left) != 1 || left[0].Name != "v2" {
			t.Errorf("got %v, %v", left, err)
		}

		_, done := l.await(t.Context(), t)
		_, err = l.Remove(t.Context(), "bob", Only("v2"), consent.Agreement{})
		ok(t, err)
		wantFault(t, <-done, fault.Failed, "v2 was removed")
	})
}

// A node that gets another name while it is waited for is the same node, and one
// that gets the name of a node that is gone is not.
func TestWaitIsForTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPair(t)
		l.comeUp(t, "v2")
		m, done := l.await(t.Context(), t)
		_, err := l.Rename(t.Context(), "bob", "v1", "v3", consent.Agreement{})
		ok(t, err)
		synctest.Wait()
		_, err = l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)
		ok(t, err)
		l.comeUp(t, "v3")
		ok(t, <-done)
		told := slices.DeleteFunc(m.lines, func(line string) bool { return line == "v3 off;" }) // as it is until it starts
		equal(t, "told", told, "v1 booting;", "v3 booting;")

		_, done = l.await(t.Context(), t) // v1
		_, err = l.Remove(t.Context(), "bob", Only("v1"), consent.Agreement{})
		ok(t, err)
		_, err = l.Rename(t.Context(), "bob", "v3", "v1", consent.Agreement{})
		ok(t, err)
		wantFault(t, <-done, fault.Failed, "v1 was removed")
	})
}

func TestBoot(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	img, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	d := l.device(t, "v1")
	if img.Ref != ref("bob/m1-default") || d.Booted != img.Ref || d.Digest != img.Digest {
		t.Errorf("booted %v; the record: %+v", img, d)
	}
	if s := l.status.of("v1"); s.State != Booting || s.Addr != "" {
		t.Errorf("it is %+v", s)
	}
	l.node(t, "n9", "m9")
	l.unchanged(t, func() {
		_, err := l.Boot(t.Context(), "v1") // a second time, to the same image
		ok(t, err)
		for _, n := range []Name{"n9", "v9"} {
			if _, err := l.Boot(t.Context(), n); err == nil {
				t.Errorf("%s booted", n)
			}
		}
	})
}

// TestBootWhileTaken changes the image of a node between what its boot read and
// the record of that: the node gets the new one.
func TestBootWhileTaken(t *testing.T) {
	t.Parallel()
	l := newPair(t)
	l.Store = &rough{Store: l.Store, between: func() {
		_, err := l.SetImage(t.Context(), "carol", Only("v1"), "default", Remarks{}, consent.Agreement{Whoever: true})
		ok(t, err)
	}}
	img, err := l.Boot(t.Context(), "v1")
	ok(t, err)
	if d := l.device(t, "v1"); img.Ref != images.DefaultRef("m1") || d.Booted != img.Ref || !d.Free() {
		t.Errorf("booted %v; the record: %+v", img.Ref, d)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	l := newMix(t)
	l.comeUp(t, "rpi-2")
	all, err := inFull(l.All(t.Context()))
	ok(t, err)
	var got []string
	for _, n := range all {
		got = append(got, fmt.Sprintf("%s %s %s %s", n.Name, n.Owner(), n.State, n.IP()))
	}
	equal(t, "all nodes", got, "pc-1 carol off ", "rpi-1 waltplatform off ", "rpi-2 bob up 127.0.0.1", "rpi-10 waltplatform off ")
	shown, err := inFull(l.Show(t.Context(), "bob", parse("my-nodes,rpi-1")))
	ok(t, err)
	if len(shown) != 2 || shown[0].Name != "rpi-1" || shown[1].Name != "rpi-2" {
		t.Errorf("shown are %v", shown)
	}
	devs, err := inFull(l.AllDevices(t.Context()))
	ok(t, err)
	if len(devs) != 6 {
		t.Errorf("there are %d devices", len(devs))
	}
	names, err := l.Names(t.Context(), "", "")
	ok(t, err)
	slices.Sort(names)
	equal(t, "names", names, "odd", "pc-1", "rpi-1", "rpi-10", "rpi-2", "sw-1")
	names, err = l.Names(t.Context(), Node, "rpi-1")
	ok(t, err)
	slices.Sort(names)
	equal(t, "nodes whose names begin with rpi-1", names, "rpi-1", "rpi-10")
	models, err := l.Models(t.Context())
	ok(t, err)
	equal(t, "models", models, "m1")
	for user, free := range map[auth.Name]int{"": 2, "bob": 0} {
		uses, err := l.Uses(t.Context(), user)
		ok(t, err)
		if uses[images.DefaultRef("m1")] != free || uses[ref("bob/m1-default")] != 1 {
			t.Errorf("%q: uses are %v", user, uses)
		}
	}
}
