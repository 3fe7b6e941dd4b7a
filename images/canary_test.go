package images_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

var (
	defaultM1 = images.DefaultRef("m1")
	candidate = ref("waltplatform/m1-default:candidate")
)

// offered is updated with a newer version, and two free nodes that were up.
func offered(t *testing.T) lab {
	l := updated(t)
	l.fleet.nodes["free-2"] = defaultM1
	l.fleet.able = []string{"free", "free-2"}
	l.shelf.offer("lab", version("v2", 2))
	return l
}

// wantVersions checks which version is present, and which nodes boot what.
func (l lab) wantVersions(t testing.TB, what, digest string, boots map[string]images.Ref, tags ...string) {
	t.Helper()
	got := l.digests(t)
	if got["m1-default"] != sum(digest) || len(got) != 1+len(tags) {
		t.Errorf("%s: %v, want %s and %v", what, got, digest, tags)
	}
	for _, tag := range tags {
		if _, here := got["m1-default:"+tag]; !here {
			t.Errorf("%s: there is no %s in %v", what, tag, got)
		}
	}
	for name, ref := range boots {
		if l.fleet.nodes[name] != ref {
			t.Errorf("%s: %s boots %v, want %v", what, name, l.fleet.nodes[name], ref)
		}
	}
}

// both are the free nodes as they were.
var both = map[string]images.Ref{"free": defaultM1, "free-2": defaultM1}

// One free node boots the new version while the present one stays what it is;
// when it is up the others follow, and it goes on.
func TestCanary(t *testing.T) {
	t.Parallel()
	l := offered(t)
	tag := l.Now().UTC().Format("20060102")
	var told []images.Trial
	l.fleet.await = func(_ context.Context, next images.Ref, progress func(images.Trial)) error {
		l.wantVersions(t, "meanwhile", "v1", map[string]images.Ref{"free": candidate, "free-2": defaultM1}, "candidate")
		if again := l.updates(t, false); again[0].Err == nil {
			t.Errorf("a second update at the same time: %+v", again)
		}
		progress(images.Trial{Node: "free"})
		return nil
	}
	var got images.Update
	ok(t, l.UpdateDefaults(t.Context(), "bob", false, images.Terms{Tried: func(tr images.Trial) { told = append(told, tr) }}, func(u images.Update) { got = u }))
	if got.Err != nil || got.Tried != "free" || len(got.Restarts) != 1 || got.Restarts[0].Node != "free-2" {
		t.Errorf("the update: %+v", got)
	}
	if len(told) != 1 || told[0].Node != "free" || told[0].Image != defaultM1 {
		t.Errorf("told of %v", told)
	}
	l.wantVersions(t, "afterwards", "v2", both, tag)
}

// A version on which its canary does not come up is put aside with the reason,
// and not tried again until there is something newer.
func TestCanaryThatFails(t *testing.T) {
	t.Parallel()
	l := offered(t)
	tag := l.Now().UTC().Format("20060102")
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		return fault.Failedf("free was not up on it within 3m0s")
	}
	got := l.updates(t, false)
	wantFault(t, got[0].Err, fault.Failed, "free was not up on it within 3m0s")
	if len(got[0].Restarts) != 1 || got[0].Restarts[0].Node != "free" || got[0].Restarts[0].Image != defaultM1 {
		t.Errorf("restarted: %+v", got[0].Restarts)
	}
	l.wantVersions(t, "afterwards", "v1", both, "failed")
	events := l.events(t, journal.Image)
	equal(t, "the last event", events[len(events)-1:],
		"bob:  -> waltplatform/m1-default, stays as it is: the version created 2026-03-01 00:00 is kept as m1-default:failed, since free was not up on it within 3m0s")
	if again := l.updates(t, false); again[0].Newest != nil || again[0].Skipped == nil || !again[0].Skipped.Failed() || again[0].Skipped.Digest != sum("v2") {
		t.Errorf("it is tried again: %+v", again)
	}
	_, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{})
	wantFault(t, err, fault.Failed, "nothing to put back")
	_, _, err = l.PutBack(t.Context(), "bob", "m1-default:failed", images.Terms{})
	wantFault(t, err, fault.Failed, "m1-default:failed")
	l.shelf.offer("far", version("v3", 3))
	l.fleet.await = nil
	if got := l.updates(t, false); got[0].Err != nil || got[0].Newest == nil {
		t.Errorf("the newer one is not taken: %+v", got)
	}
	l.wantVersions(t, "after the newer one", "v3", both, tag)
	_, _, err = l.PutBack(t.Context(), "bob", "m1-default:"+tag, images.Terms{})
	ok(t, err)
	l.wantVersions(t, "put back as it is shown", "v1", both, tag)
}

// A canary that somebody takes is followed by another, also one that nobody can
// restart; when there is none left, the update goes on without.
func TestCanaryThatIsTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		able, dark []string
		takes      int
		tried      string
	}{
		"taken once":        {[]string{"free", "free-2"}, nil, 1, "free-2"},
		"all are taken":     {[]string{"free", "free-2"}, nil, 2, ""},
		"no power control":  {[]string{"free", "free-2"}, []string{"free"}, 0, "free-2"},
		"none that was up":  {nil, nil, 0, ""},
		"none with control": {[]string{"free", "free-2"}, []string{"free", "free-2"}, 0, ""},
	} {
		l := offered(t)
		tag := l.Now().UTC().Format("20060102")
		l.fleet.able, l.fleet.dark = c.able, c.dark
		mine, takes := ref("bob/m1-default"), c.takes
		l.fleet.await = func(_ context.Context, next images.Ref, _ func(images.Trial)) error {
			for node, boots := range l.fleet.nodes {
				if boots == next && takes > 0 {
					takes--
					l.fleet.nodes[node] = mine
					return images.ErrTaken
				}
			}
			return nil
		}
		got := l.updates(t, false)
		if got[0].Err != nil || got[0].Tried != c.tried {
			t.Errorf("%s: %+v", name, got)
		}
		l.wantVersions(t, name, "v2", nil, tag)
		for node, boots := range l.fleet.nodes {
			if boots != mine && boots != defaultM1 {
				t.Errorf("%s: %s boots %s", name, node, boots)
			}
		}
	}
}

// Whoever stops an update while its canary boots leaves everything as it was.
func TestCanaryThatIsInterrupted(t *testing.T) {
	t.Parallel()
	l := offered(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.fleet.await = func(ctx context.Context, _ images.Ref, _ func(images.Trial)) error {
		cancel()
		return ctx.Err()
	}
	err := l.UpdateDefaults(ctx, "bob", false, images.Terms{}, func(images.Update) {})
	wantFault(t, err, fault.Interrupted, "m1-default stays as it was", "free boots it again")
	l.wantVersions(t, "afterwards", "v1", both)
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error { // and who is removed meanwhile
		l.update(t, func(tx state.Tx) error { return l.users.Delete(tx, "alice", "bob") })
		return nil
	}
	if got := l.updates(t, false); got[0].Err == nil || got[0].Tried != "free" {
		t.Errorf("the update of who was removed: %+v", got)
	}
	l.wantVersions(t, "after that", "v1", both)
}

// What failed, or was put back, is tried once more when somebody asks for that.
func TestCanaryOnceMore(t *testing.T) {
	t.Parallel()
	l := offered(t)
	tag := l.Now().UTC().Format("20060102")
	retry := func() (got images.Update) {
		t.Helper()
		ok(t, l.UpdateDefaults(t.Context(), "bob", false, images.Terms{Retry: true}, func(u images.Update) { got = u }))
		return got
	}
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error { return fault.Failedf("it is broken") }
	wantFault(t, l.updates(t, false)[0].Err, fault.Failed, "it is broken")
	wantFault(t, retry().Err, fault.Failed, "it is broken")
	l.wantVersions(t, "failed again", "v1", both, "failed")
	l.fleet.await = nil
	if u := retry(); u.Err != nil || u.Tried == "" {
		t.Errorf("the retry: %+v", u)
	}
	l.wantVersions(t, "came up", "v2", both, tag)
	_, _, err := l.PutBack(t.Context(), "bob", "m1-default", images.Terms{})
	ok(t, err)
	if u := l.updates(t, false)[0]; u.Newest != nil {
		t.Errorf("what was put back is taken: %+v", u)
	}
	if u := retry(); u.Err != nil || u.Tried == "" {
		t.Errorf("the retry of what was put back: %+v", u)
	}
	l.wantVersions(t, "taken again", "v2", both, tag)
}

// Who puts the version back that an update replaced, while a newer one is tried, gets
// that on all nodes: the canary runs something else, and leaves it.
func TestPutBackWhileACanaryBoots(t *testing.T) {
	t.Parallel()
	l := offered(t)
	tag := l.Now().UTC().Format("20060102")
	ok(t, l.updates(t, false)[0].Err)
	l.shelf.offer("lab", version("v3", 3))
	var back []images.Restart
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) (err error) {
		_, back, err = l.PutBack(t.Context(), "alice", "m1-default", images.Terms{})
		ok(t, err)
		return images.ErrTaken
	}
	wantFault(t, l.updates(t, false)[0].Err, fault.Failed, "already updated by someone else")
	l.wantVersions(t, "afterwards", "v1", both, tag)
	var names []string
	for _, r := range back {
		names = append(names, r.Node)
	}
	slices.Sort(names)
	equal(t, "restarted", names, "free", "free-2")
}

// Somebody who does not agree that sessions end is asked before the canary boots,
// and for the others once more when more of them came.
func TestCanaryUnderVisitors(t *testing.T) {
	t.Parallel()
	l := offered(t)
	l.fleet.visitors = map[string][]auth.Name{"free": {"carol"}, "free-2": {"dave"}}
	asked := 0
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		l.fleet.visitors["free"] = nil // the restart ended it
		return nil
	}
	answer := func(e *consent.Error) error { asked++; return nil }
	run := func() (got images.Update) {
		t.Helper()
		ok(t, l.UpdateDefaults(t.Context(), "bob", false, images.Terms{Ask: func(e *consent.Error) error { return answer(e) }}, func(u images.Update) { got = u }))
		return got
	}
	no := errors.New("no")
	answer = func(*consent.Error) error { return no }
	if u := run(); !errors.Is(u.Err, no) {
		t.Errorf("refused at once: %+v", u)
	}
	l.wantVersions(t, "refused at once", "v1", both)
	answer = func(*consent.Error) error {
		if asked++; asked > 1 {
			return fault.New(fault.InUse, "not confirmed")
		}
		return nil
	}
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		l.fleet.visitors = map[string][]auth.Name{"free-2": {"dave", "erin"}}
		return nil
	}
	u := run()
	wantFault(t, u.Err, fault.InUse, "not confirmed")
	l.wantVersions(t, "refused later", "v1", both) // and it is no failure of the image
	asked, l.fleet.visitors = 0, map[string][]auth.Name{"free": {"carol"}, "free-2": {"dave"}}
	l.fleet.await = func(context.Context, images.Ref, func(images.Trial)) error {
		l.fleet.visitors["free"] = nil
		return nil
	}
	if u := run(); u.Err != nil || asked != 1 {
		t.Errorf("asked %d times: %+v", asked, u)
	}
}

// What an end of the server leaves of an update is put right at its next start.
func TestCanaryAfterAnEnd(t *testing.T) {
	t.Parallel()
	l := offered(t)
	next := version("v2", 2)
	next.Ref = candidate
	l.image(t, next)
	l.fleet.nodes["free"] = candidate
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	watch := l.Store.Watch("image/")
	defer watch.Close()
	go func() { done <- l.Run(ctx) }()
	for len(l.digests(t)) > 1 {
		<-watch.Changed()
	}
	cancel()
	ok(t, <-done)
	l.wantVersions(t, "after the start", "v1", both)

	// An update does so itself, for the case that it could not be done then.
	l.image(t, next)
	l.fleet.nodes["free-2"] = candidate
	if got := l.updates(t, false); got[0].Err != nil || got[0].Tried != "free" {
		t.Errorf("the next update: %+v", got)
	}
	l.wantVersions(t, "after the update", "v2", both, l.Now().UTC().Format("20060102"))
}
