package nodes

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/consent"
	"walt/fault"
	"walt/images"
)

// told configures the model of a device, for bob.
func (l testLab) told(t *testing.T, n Name, model string) error {
	t.Helper()
	_, err := l.Configure(t.Context(), "bob", Only(n), false, []Assignment{{"model", model}}, consent.Agreement{})
	return err
}

// A device whose model nobody knew becomes a free node by it: at once, or when its default
// image is here, which is downloaded for it.
func TestModelOfUnknownDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.user(t, "bob")
		l.run(t)
		l.node(t, "d1", "")
		l.node(t, "d2", "")
		ok(t, l.told(t, "d1", "m1"))
		if d := l.device(t, "d1"); d.Kind != Node || !d.Free() || d.Model != "m1" || d.Image != images.DefaultRef("m1") {
			t.Errorf("with a default image here it is %+v", d)
		}
		release := l.library.hold()
		ok(t, l.told(t, "d2", "m5")) // of which no registry has an image
		if d := l.device(t, "d2"); d.Kind != Unknown || d.Model != "m5" {
			t.Errorf("without one it is %+v", d)
		}
		ok(t, l.told(t, "d2", "m2")) // m5 was wrong
		synctest.Wait()
		jobs, err := l.Images.Jobs(t.Context())
		ok(t, err)
		if !slices.ContainsFunc(jobs, func(j images.Job) bool { return j.ID == images.DownloadID("m2") }) {
			t.Errorf("what is downloaded is %+v", jobs)
		}
		release()
		time.Sleep(time.Minute)
		synctest.Wait()
		jobs, err = l.Images.Jobs(t.Context())
		ok(t, err)
		if len(jobs) > 0 { // of m5, which nobody waits for any more
			t.Errorf("what is still downloaded is %+v", jobs)
		}
		if d := l.device(t, "d2"); d.Kind != Node || !d.Free() || d.Model != "m2" {
			t.Errorf("when its image is here it is %+v", d)
		}
		equal(t, "free", l.owners(t, "d1", "d2"), "waltplatform", "waltplatform")
		taken, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m2"}, Remarks{})
		if err != nil || len(taken.Changes) != 1 || taken.Changes[0].Node != "d2" {
			t.Errorf("who wants one gets %v, %v", taken, err)
		}
	})
}

// A free node becomes one of another model whose default image is here, and goes on to be
// that whatever it reports. One that is somebody's stays what it is.
func TestModelOfNode(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil, "n1")
	l.user(t, "bob")
	wantFault(t, l.told(t, "n1", "M 2"), fault.Usage, `invalid model "M 2"`)
	l.image(t, defaultOf("m2"))
	before := l.device(t, "n1")
	_, err := l.Acquire(t.Context(), "bob", Only("n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	wantFault(t, l.told(t, "n1", "m2"), fault.Failed, "n1 belongs to bob", "node release n1")
	_, err = l.Release(t.Context(), "bob", Only("n1"))
	ok(t, err)
	if d := l.device(t, "n1"); d.Model != "m1" || d.Image != before.Image {
		t.Errorf("refused, it is %+v", d)
	}
	ok(t, l.told(t, "n1", "m2"))
	if d := l.device(t, "n1"); d.Model != "m2" || !d.Free() || d.Image != images.DefaultRef("m2") {
		t.Errorf("told, it is %+v", d)
	}
	ok(t, l.Itself(t.Context(), "n1", "m1"))
	if d := l.device(t, "n1"); d.Model != "m2" || d.Reports != "m1" {
		t.Errorf("when it reports something else it is %+v", d)
	}
	taken, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "m2"}, Remarks{})
	if err != nil || len(taken.Changes) != 1 {
		t.Errorf("who wants one gets %v, %v", taken, err)
	}
	_, err = l.Register(t.Context(), "alice", Announcement{Name: "v1", MAC: macOf("v1"), Model: "m1", Host: Simulated})
	ok(t, err)
	wantFault(t, l.told(t, "v1", "m2"), fault.Failed, "v1, which is a virtual node, has no setting model")
}

// A free node whose new model has no default image here stays what it is while that is
// downloaded. Then it is one of that model, unless somebody has it by then.
func TestModelOfNodeWithoutImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil, "n1", "n2", "n3", "n4")
		l.user(t, "bob")
		l.run(t)
		release := l.library.hold()
		for _, n := range []Name{"n1", "n2", "n3", "n4"} {
			ok(t, l.told(t, n, "m2"))
		}
		d := l.device(t, "n1")
		if d.Model != "m1" || d.Becomes() != "m2" || !d.Free() || d.Image != images.DefaultRef("m1") {
			t.Errorf("without the image it is %+v", d)
		}
		all, err := l.Lab.Settings(t.Context(), "bob", Only("n1"), false, []string{"model"})
		ok(t, err)
		for s, err := range all.Each(t.Context()) {
			ok(t, err)
			if s.Value != "m1" || s.Note != "becomes m2 when waltplatform/m2-default is here" {
				t.Errorf("its setting is %+v", s)
			}
		}
		ok(t, l.told(t, "n2", "m1")) // it was right before
		ok(t, l.told(t, "n4", "m5")) // or is to be another one
		_, err = l.Acquire(t.Context(), "bob", Only("n3"), Remarks{}, consent.Agreement{})
		ok(t, err)
		release()
		time.Sleep(time.Minute)
		synctest.Wait()
		for n, want := range map[Name]Device{
			"n1": {Model: "m2", Image: images.DefaultRef("m2")},
			"n2": {Model: "m1", Image: images.DefaultRef("m1")},
			"n3": {Model: "m1", Image: images.Ref{User: "bob", Name: "m1-default", Tag: "latest"}},
			"n4": {Model: "m1", Image: images.DefaultRef("m1"), Marks: &Marks{Becomes: "m5"}},
		} {
			if d := l.device(t, n); d.Model != want.Model || d.Image != want.Image || d.Becomes() != want.Becomes() {
				t.Errorf("%s is %+v, want %+v", n, d, want)
			}
		}
		_, err = l.Forget(t.Context(), "bob", Only("n4"), consent.Agreement{})
		ok(t, err)
		synctest.Wait()
		jobs, err := l.Images.Jobs(t.Context())
		ok(t, err)
		if len(jobs) > 0 {
			t.Errorf("nobody waits, and what is downloaded is %+v", jobs)
		}
		sound(t, l.Store)
	})
}

// What firmware tells of its machine keeps a device from being of a model that does not
// fit; where nobody knows what a model runs, nothing does.
func TestModelThatDoesNotFit(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.user(t, "bob")
	l.Platforms = images.KnownPlatforms().Of
	for _, m := range []images.Model{"pc-x86-64", "pc-x86-32", "rpi-3-b", "rpi-2-b", "own"} {
		l.image(t, defaultOf(m))
	}
	for arch, fits := range map[Arch]string{
		"":    "pc-x86-64 pc-x86-32 rpi-3-b rpi-2-b own",
		X86:   "pc-x86-64 pc-x86-32 own",
		ARM:   "rpi-3-b rpi-2-b own",
		ARM64: "rpi-3-b own",
		RISCV: "own",
	} {
		_, err := l.Met(t.Context(), Arrival{MAC: macOf("of " + string(arch))})
		ok(t, err)
		d, err := l.Met(t.Context(), Arrival{MAC: macOf("of " + string(arch)), Arch: arch})
		ok(t, err)
		if arch != "" {
			_, err = l.Met(t.Context(), Arrival{MAC: d.MAC, Arch: X86}) // who pretends to be it
			ok(t, err)
		}
		var can []string
		for _, m := range []string{"pc-x86-64", "pc-x86-32", "rpi-3-b", "rpi-2-b", "own"} {
			if err := l.told(t, d.Name, m); err == nil {
				can = append(can, m)
			} else {
				wantFault(t, err, fault.Failed, "cannot be a "+m, arch.String(), "device show "+string(d.Name))
			}
		}
		if got := strings.Join(can, " "); got != fits {
			t.Errorf("firmware of %q: it can be %q, want %q", arch, got, fits)
		}
		if d := l.device(t, d.Name); d.Arch() != arch { // which a server knows that is started anew
			t.Errorf("kept is %+v", d)
		}
	}
}
