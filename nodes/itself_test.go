package nodes

import (
	"testing"

	"walt/consent"
	"walt/images"
)

// A board that says that it is of another model becomes that while it is free and the
// default image of that is here; else it stays what it is, and is shown as what it says.
func TestItself(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.user(t, "bob")
	l.image(t, defaultOf("rpi-4-b"))
	d, err := l.Met(t.Context(), Arrival{MAC: "dc:a6:32:00:00:01", Model: "rpi-4-b"})
	ok(t, err)
	is := func(says, model, reports images.Model, image string) {
		t.Helper()
		ok(t, l.Itself(t.Context(), d.Name, says))
		now := l.device(t, d.Name)
		if now.Model != model || now.Reports != reports || now.Image != ref(image) {
			t.Errorf("says it is a %s: it is a %s that boots %s, and reports itself as %q", says, now.Model, now.Image, now.Reports)
		}
	}
	const before = "waltplatform/rpi-4-b-default"
	is("rpi-4-b", "rpi-4-b", "", before)
	is("rpi-400", "rpi-4-b", "rpi-400", before) // of which there is no image
	is("rpi-4-b", "rpi-4-b", "", before)
	l.image(t, defaultOf("rpi-400"))
	_, err = l.Acquire(t.Context(), "bob", parse(string(d.Name)), Remarks{}, consent.Agreement{})
	ok(t, err)
	is("rpi-400", "rpi-4-b", "rpi-400", "bob/rpi-4-b-default") // it is somebody's
	_, err = l.Release(t.Context(), "bob", parse(string(d.Name)))
	ok(t, err)
	is("rpi-400", "rpi-400", "", "waltplatform/rpi-400-default")
	taken, err := l.AcquireAny(t.Context(), "bob", Some{N: 1, Model: "rpi-400"}, Remarks{})
	if err != nil || len(taken.Changes) != 1 {
		t.Errorf("who wants one of that model gets %v, %v", taken, err)
	}
	ok(t, l.Itself(t.Context(), "nobody", "rpi-400"))
}
