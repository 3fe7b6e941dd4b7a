package images_test

import (
	"context"
	"testing"

	"walt/fault"
	"walt/images"
	"walt/journal"
)

// setDefault has alice, the administrator, make her image the default one.
func (l lab) setDefault(t testing.TB, name string) (all []images.Default, err error) {
	t.Helper()
	err = l.SetDefault(t.Context(), "alice", name, images.Terms{}, func(d images.Default) { all = append(all, d) })
	return all, err
}

// A model that has no default image gets one, and what waited for it are nodes.
func TestSetFirstDefault(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	os := version("os", 1)
	os.Ref, os.Models = ref("alice/os"), []images.Model{"m2", "m3"}
	l.image(t, os)
	l.want(t, "m2")
	wantFault(t, l.SetDefault(t.Context(), "bob", "os", images.Terms{}, nil), fault.Failed, "only administrators choose default images")
	got, err := l.setDefault(t, "os")
	ok(t, err)
	if len(got) != 2 || got[0].Model != "m2" || got[1].Model != "m3" || got[0].Kept != (images.Ref{}) {
		t.Errorf("got %+v", got)
	}
	for _, name := range []string{"m2-default", "m3-default"} {
		if is := l.digests(t)[name]; is != os.Digest {
			t.Errorf("%s is %q", name, is)
		}
	}
	equal(t, "waiting", l.fleet.waits())
	if jobs, err := l.Jobs(t.Context()); err != nil || len(jobs) > 0 {
		t.Errorf("it is still downloaded: %v, %v", jobs, err)
	}
	if got, err = l.setDefault(t, "os"); err != nil || len(got) != 2 || !got[0].Same {
		t.Errorf("again: %+v, %v", got, err)
	}
	if events := l.events(t, journal.Image); len(events) != 2 || events[0] != "alice: alice/os -> waltplatform/m2-default, made the default image" {
		t.Errorf("the log says %q", events)
	}
	_, err = l.setDefault(t, "nothing")
	wantFault(t, err, fault.Failed, "nothing")
}

// One that there is is replaced as an update does it, whichever is newer, and comes back
// when no node comes up on the other.
func TestSetDefaultInstead(t *testing.T) {
	t.Parallel()
	l := offered(t)
	os := version("os", -3)
	os.Ref = ref("alice/os")
	l.image(t, os)
	failing := fault.Failedf("it did not come up")
	l.fleet.await = func(_ context.Context, next images.Ref, _ func(images.Trial)) error {
		if l.fleet.nodes["free"] != next || l.fleet.nodes["free-2"] != defaultM1 {
			t.Errorf("meanwhile they boot %v", l.fleet.nodes)
		}
		return failing
	}
	_, err := l.setDefault(t, "os")
	wantFault(t, err, fault.Failed, "not made the default image of m1: it did not come up")
	l.wantVersions(t, "it failed", "v1", both, "failed")
	l.fleet.await = nil
	got, err := l.setDefault(t, "os")
	ok(t, err)
	tag := l.Now().UTC().Format("20060102")
	if len(got) != 1 || got[0].Tried != "free" || got[0].Kept.Tag != tag || len(got[0].Restarts) != 1 {
		t.Errorf("got %+v", got)
	}
	l.wantVersions(t, "it came up", "os", both, tag)
	if _, _, err := l.PutBack(t.Context(), "alice", "m1-default", images.Terms{}); err != nil {
		t.Error(err)
	}
	l.wantVersions(t, "put back", "v1", both, tag)

	// Somebody else is faster.
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		_, _, err := l.PutBack(t.Context(), "alice", "m1-default", images.Terms{})
		return err
	}
	fresh := version("fresh", 9)
	fresh.Ref = ref("alice/fresh")
	l.image(t, fresh)
	_, err = l.setDefault(t, "fresh")
	wantFault(t, err, fault.Failed, "already updated by someone else")
	if is := l.digests(t)["m1-default"]; is != os.Digest {
		t.Errorf("it is %s", is)
	}
}
