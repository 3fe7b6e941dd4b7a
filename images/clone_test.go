package images_test

import (
	"context"
	"errors"
	"testing"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
)

// What may not be fetched is refused before the download, and once more after it
// when the lab has changed meanwhile.
func TestCloneFromElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	tool := images.Image{Ref: ref("ann/tool"), Digest: sum("tool"), Models: []images.Model{"m1"}}
	l.shelf.links["lab"] = tool
	from, mine := images.Link{Location: "lab", Ref: tool.Ref}, ref("bob/m1-default")
	fetches := 0
	between := func() {}
	l.shelf.before = func() { fetches++; between() }
	clone := func(to images.Ref, terms images.Terms) error {
		fetches = 0
		_, err := l.CloneFrom(t.Context(), from, to, terms)
		return err
	}
	refused := func(to images.Ref, terms images.Terms, named ...string) {
		t.Helper()
		wantFault(t, clone(to, terms), fault.Failed, named...)
		if fetches > 0 {
			t.Error("it was fetched all the same")
		}
	}
	ok(t, clone(ref("bob/tool"), images.Terms{}))
	refused(ref("bob/tool"), images.Terms{}, "tool", "already", "image clone --force lab:ann/tool tool")
	refused(ref("zoe/tool"), images.Terms{}, "zoe")
	equal(t, "log", l.events(t, journal.Image), "bob: lab:ann/tool -> bob/tool, cloned")

	own := defaultOf("m1")
	own.Ref = mine
	l.image(t, own)
	l.fleet.nodes["n1"] = mine
	other := tool
	other.Models = []images.Model{"m2"}
	l.shelf.links["lab"] = other
	refused(mine, images.Terms{Force: true}, "n1", "m2")
	l.shelf.links["lab"] = tool
	contest := wantContest(t, clone(mine, images.Terms{Force: true}), "n1")
	if fetches > 0 {
		t.Error("it was fetched before the user agreed")
	}

	// what came up while it was fetched
	between = func() { l.fleet.nodes["n2"] = mine }
	again := wantContest(t, clone(mine, images.Terms{Force: true, Given: consent.Agreement{Shown: contest.Nodes}}), "n1", "n2")
	if len(again.Shown) == 0 || fetches != 1 {
		t.Errorf("shown before were %v after %d downloads", again.Shown, fetches)
	}
	between = func() { l.shelf.links["lab"] = other }
	wantFault(t, clone(mine, images.Terms{Force: true, Given: consent.Agreement{Whoever: true}}), fault.Failed, "n1, n2", "m2")
	if got, err := l.Own(t.Context(), "bob", "m1-default"); err != nil || got.Digest != own.Digest {
		t.Errorf("it became %+v, %v", got, err)
	}
}

// Whoever has to be asked is asked before the download, and again after it only
// about what has changed; it is not downloaded twice.
func TestCloneAsks(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	tool := images.Image{Ref: ref("ann/tool"), Digest: sum("tool"), Models: []images.Model{"m1"}}
	l.shelf.links["lab"] = tool
	from, mine := images.Link{Location: "lab", Ref: tool.Ref}, defaultOf("m1")
	mine.Ref = ref("bob/m1-default")
	l.image(t, mine)
	l.fleet.nodes["n1"] = mine.Ref
	fetches := 0
	l.shelf.before = func() {
		fetches++
		l.fleet.nodes["n2"] = mine.Ref
	}
	var asked []bool
	errNo := errors.New("no")
	answer := errNo
	terms := images.Terms{Force: true, Ask: func(e *consent.Error) error {
		asked = append(asked, len(e.Shown) > 0)
		return answer
	}}
	if _, err := l.CloneFrom(t.Context(), from, mine.Ref, terms); !errors.Is(err, errNo) || fetches > 0 {
		t.Errorf("refused, and got %v after %d downloads", err, fetches)
	}
	answer = nil
	cloned, err := l.CloneFrom(t.Context(), from, mine.Ref, terms)
	ok(t, err)
	equal(t, "questions", asked, false, false, true)
	if cloned.Image.Digest != tool.Digest || cloned.Image.Ref != mine.Ref || len(cloned.Restarts) != 2 || fetches != 1 {
		t.Errorf("got %+v after %d downloads", cloned, fetches)
	}
	cloned, err = l.CloneFrom(t.Context(), from, mine.Ref, terms) // the content is the same
	ok(t, err)
	if len(asked) != 3 || cloned.Restarts != nil {
		t.Errorf("nothing changes, and %d questions and %v", len(asked), cloned.Restarts)
	}
}

// A download of a clone is a job, and cancelling that ends it.
func TestCloneIsAJob(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	tool := images.Image{Ref: ref("ann/tool"), Digest: sum("tool"), Models: []images.Model{"m1"}}
	l.shelf.links["lab"] = tool
	l.shelf.before = func() {
		all, err := l.Jobs(t.Context())
		ok(t, err)
		equal(t, "jobs", all, images.Job{ID: "1", What: "lab:ann/tool", User: "bob", Running: true, Done: 3, Total: 9})
		ok(t, l.CancelJob(t.Context(), "bob", "1"))
	}
	told := 0
	_, err := l.CloneFrom(t.Context(), images.Link{Location: "lab", Ref: tool.Ref}, ref("bob/tool"), images.Terms{Report: func(images.Progress) { told++ }})
	wantFault(t, err, fault.Interrupted, "cancelled", "advanced jobs")
	if told != 2 || len(l.names(t, "bob")) > 0 {
		t.Errorf("progress was told %d times, and bob has %v", told, l.names(t, "bob"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.shelf.before = cancel
	_, err = l.CloneFrom(ctx, images.Link{Location: "lab", Ref: tool.Ref}, ref("bob/tool"), images.Terms{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the user went away, and the clone ended with %v", err)
	}
}

func TestCloneName(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.shelf.links["lab"] = images.Image{}
	for link, c := range map[string]struct {
		name, want string
		changed    bool
	}{
		"lab:ann/tool":        {"", "bob/tool", false},
		"lab:ann/tool:v1":     {"mine", "bob/mine", false},
		"lab:ann/Tool":        {},
		"lab:ann/to_ol/x":     {"", "bob/to-ol-x", true},
		"walt:ann/default-os": {"", "bob/default-os", false},
	} {
		from, err := images.ParseLink(link)
		if c.want == "" {
			wantFault(t, err, fault.Usage)
			continue
		}
		ok(t, err)
		to, changed, err := l.CloneName(from, "bob", c.name)
		if err != nil || to != ref(c.want) || changed != c.changed {
			t.Errorf("%s %s: %v, %v, %v", link, c.name, to, changed, err)
		}
	}
	_, _, err := l.CloneName(images.Link{Location: "moon", Ref: ref("ann/tool")}, "bob", "")
	wantFault(t, err, fault.Failed, "moon")
}

// What nodes could not boot is refused once it is here, and not in the place of what
// they do boot.
func TestCloneThatNodesCannotBoot(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bob")
	tool := images.Image{Ref: ref("ann/tool"), Digest: sum("tool"), Models: []images.Model{"m1"}}
	own := defaultOf("m1")
	own.Ref = ref("bob/m1-default")
	l.image(t, own)
	l.fleet.nodes["n1"] = own.Ref
	l.shelf.links["lab"], l.fleet.unbootable = tool, tool.Digest
	fetches := 0
	l.shelf.before = func() { fetches++ }
	from := images.Link{Location: "lab", Ref: tool.Ref}
	clone := func(to images.Ref) error {
		_, err := l.CloneFrom(t.Context(), from, to, images.Terms{Force: true, Given: consent.Agreement{Whoever: true}})
		return err
	}
	wantFault(t, clone(own.Ref), fault.Failed, "cannot be booted")
	if mine, err := l.Own(t.Context(), "bob", "m1-default"); err != nil || mine.Digest != own.Digest || fetches != 1 {
		t.Errorf("it is %+v, %v, after %d downloads", mine, err, fetches)
	}
	ok(t, clone(ref("bob/other")))
}
