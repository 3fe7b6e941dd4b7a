package nodes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// hears returns what a user is told now, and not again.
func (l testLab) hears(t testing.TB, user auth.Name) []string {
	t.Helper()
	texts, err := l.Journal.Unseen(t.Context(), string(user))
	ok(t, err)
	return texts
}

// Only the owner says something of a node; it is seen by who would take it, told to who
// loses it, and gone then.
func TestNote(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	done, err := l.Note(t.Context(), "bob", Only("n1"), `it's at "100%"`)
	ok(t, err)
	equal(t, "noted", done, "n1")
	equal(t, "log", l.events(t, journal.Sharing), `bob n1:  -> , note: "it's at \"100%\""`)
	l.unchanged(t, func() {
		wantFault(t, errorOf(l.Note(t.Context(), "bob", parse("n1,n2,n3"), "mine")), fault.Failed, "not yours: n2 (owned by carol), n3 (free)", "node show")
	})
	err = errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{}))
	asked := wantContest(t, err, false, "n1 bob")
	equal(t, "the question", []string{asked.Nodes[0].Note}, `it's at "100%"`)
	_, err = l.Note(t.Context(), "bob", Only("n1"), "another")
	ok(t, err)
	wantContest(t, errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{Shown: asked.Nodes})), true, "n1 bob")
	_, err = l.Note(t.Context(), "bob", Only("n1"), `it's at "100%"`)
	ok(t, err)
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{Note: "50%d"}, consent.Agreement{Shown: asked.Nodes})))
	equal(t, "told", l.hears(t, "bob"), `carol took your node n1, of which you noted "it's at \"100%\"", noting "50%d"`)
	equal(t, "note", []string{l.device(t, "n1").Remarks().Note}, "50%d")
	_, err = l.Note(t.Context(), "carol", Only("n1"), "")
	ok(t, err)
	if d := l.device(t, "n1"); d.Said != nil {
		t.Errorf("without a note something is said: %+v", d.Said)
	}
}

// Mates use a node without asking, and do nothing else without.
func TestShare(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.user(t, "dave")
	share := func(mates ...auth.Name) {
		t.Helper()
		ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), mates)))
	}
	use := func(user auth.Name) error {
		return errorOf(l.NodesWithConsent(t.Context(), user, Only("n1"), consent.Agreement{}))
	}
	reboot := func(user auth.Name) error {
		return l.Reboot(t.Context(), user, Only("n1"), false, consent.Agreement{}, func(Change) {})
	}
	wantContest(t, use("carol"), false, "n1 bob")
	share("carol")
	ok(t, use("carol"))
	ok(t, reboot("carol"))
	wantContest(t, use("dave"), false, "n1 bob")
	wantContest(t, reboot("dave"), false, "n1 bob")
	for what, do := range map[string]error{
		"acquire": errorOf(l.Acquire(t.Context(), "carol", Only("n1"), Remarks{}, consent.Agreement{})),
		"boot":    errorOf(l.SetImage(t.Context(), "carol", Only("n1"), "default", Remarks{}, consent.Agreement{})),
		"off":     l.PowerOff(t.Context(), "carol", Only("n1"), false, consent.Agreement{}, func(Change) {}),
		"config":  errorOf(l.Configure(t.Context(), "carol", Only("n1"), true, []Assignment{{"boot.timeout", "5m"}}, consent.Agreement{})),
		"rename":  errorOf(l.Rename(t.Context(), "carol", "n1", "n9", consent.Agreement{})),
	} {
		t.Run(what, func(t *testing.T) { wantContest(t, do, false, "n1 bob") })
	}
	share(auth.Everybody)
	ok(t, use("dave"))
	share()
	wantContest(t, use("carol"), false, "n1 bob")
	equal(t, "log", l.events(t, journal.Sharing), "bob n1:  -> , shared with carol", "bob n1:  -> , shared with everybody", "bob n1:  -> , shared with nobody")
	l.unchanged(t, func() {
		wantFault(t, errorOf(l.Share(t.Context(), "carol", Only("n1"), nil)), fault.Failed, "not yours: n1 (owned by bob)", "node show")
		wantFault(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"bob"})), fault.Usage, "bob is you", "never asked")
		wantFault(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"karol"})), fault.Failed, "unknown user karol", "carol")
	})
	share("carol")
	ok(t, errorOf(l.Acquire(t.Context(), "dave", Only("n1"), Remarks{}, consent.Agreement{Whoever: true})))
	if got := l.device(t, "n1").Said; got != nil {
		t.Errorf("who takes it takes over %+v", got)
	}
}

// Who gets the name of a mate who was removed is none.
func TestMateIsRemoved(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.user(t, "dave")
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol", "dave"})))
	ok(t, errorOf(l.Ask(t.Context(), "carol", Only("n1"), "")))
	ok(t, errorOf(l.Share(t.Context(), "carol", Only("n2"), []auth.Name{"bob"})))
	ok(t, errorOf(l.Ask(t.Context(), "dave", Only("n2"), "")))
	_, err := l.RemoveUser(t.Context(), "alice", "carol", Legacy{Heir: "bob"})
	ok(t, err)
	if got := l.device(t, "n1").Remarks(); fmt.Sprint(got.Mates) != "[dave]" || len(got.Asks) != 0 {
		t.Errorf("the mates are %v, and %v ask", got.Mates, got.Asks)
	}
	if d := l.device(t, "n2"); d.Said != nil || d.Owner() != "bob" {
		t.Errorf("the heir %s has %+v", d.Owner(), d.Said)
	}
	_, err = l.RemoveUser(t.Context(), "alice", "dave", Legacy{})
	ok(t, err)
	if d := l.device(t, "n1"); d.Said != nil {
		t.Errorf("there is %+v", d.Said)
	}
	sound(t, l.Store)
}

// Whichever is first, a user who is removed is no mate and asks for nothing afterwards.
func TestMateIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	remove := func(l testLab) error {
		return errorOf(l.RemoveUser(t.Context(), "alice", "carol", Legacy{Force: true}))
	}
	for what, do := range map[string]func(testLab) error{
		"share": func(l testLab) error { return errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol"})) },
		"ask":   func(l testLab) error { return errorOf(l.Ask(t.Context(), "carol", Only("n1"), "")) },
	} {
		for order, two := range map[string][2]func(testLab) error{what + " first": {remove, do}, what + " last": {do, remove}} {
			t.Run(order, func(t *testing.T) {
				t.Parallel()
				l := newTeam(t)
				l.Store = &rough{Store: l.Store, between: func() { ok(t, two[1](l)) }}
				err := two[0](l)
				if first := strings.HasSuffix(order, "first"); first != (err == nil) || !first && fault.As(err) == nil {
					t.Errorf("it ended with %v", err)
				}
				if d := l.device(t, "n1"); d.Said != nil {
					t.Errorf("there is %+v", d.Said)
				}
			})
		}
	}
}

// Remarks go with the node when it gets another name.
func TestRemarksOfRenamed(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	ok(t, errorOf(l.Note(t.Context(), "bob", Only("n1"), "mine")))
	ok(t, errorOf(l.Share(t.Context(), "bob", Only("n1"), []auth.Name{"carol"})))
	ok(t, errorOf(l.Ask(t.Context(), "carol", Only("n1"), "please")))
	ok(t, errorOf(l.Rename(t.Context(), "bob", "n1", "n9", consent.Agreement{})))
	if got := l.device(t, "n9").Remarks(); got.Note != "mine" || len(got.Mates) != 1 || len(got.Asks) != 1 {
		t.Errorf("there is %+v", got)
	}
	ok(t, errorOf(l.Give(t.Context(), "bob", Only("n9"), "carol", false)))
	ok(t, errorOf(l.Forget(t.Context(), "carol", Only("n9"), consent.Agreement{})))
	l.node(t, "n9", "m1")
	if d := l.device(t, "n9"); d.Said != nil {
		t.Errorf("one of the same name has %+v", d.Said)
	}
}

func TestParseMates(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"carol,bob,carol": "[bob carol]", "all": "[all]", "none": "[]"} {
		if got, err := ParseMates(s); fmt.Sprint(got) != want || err != nil {
			t.Errorf("%q is %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "bob,", "bob,all", "none,bob", "Bob", "waltplatform"} {
		if got, err := ParseMates(s); fault.As(err) == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// An owner is told once of who asks, and is not flooded.
func TestAsk(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	asked, err := l.Ask(t.Context(), "carol", Only("n1"), `50% of "it"`)
	ok(t, err)
	if len(asked) != 1 || !asked[0].Told || asked[0].Owner != "bob" {
		t.Errorf("got %+v", asked)
	}
	again, err := l.Ask(t.Context(), "carol", Only("n1"), "again")
	ok(t, err)
	if len(again) != 1 || again[0].Told || !again[0].Since.Equal(asked[0].Since) {
		t.Errorf("the second time: %+v", again)
	}
	equal(t, "told", l.hears(t, "bob"), `carol asks for your node n1: "50% of \"it\""; to give it: node give n1 carol`)
	equal(t, "log", l.events(t, journal.Sharing), `carol n1:  -> , asked bob for it: "50% of \"it\""`)
	l.unchanged(t, func() {
		wantFault(t, errorOf(l.Ask(t.Context(), "carol", parse("n1,n3"), "")), fault.Failed, "n3 is free", "node acquire n3")
		wantFault(t, errorOf(l.Ask(t.Context(), "carol", Only("n2"), "")), fault.Failed, "n2 is yours", "node show")
	})
	d := l.device(t, "n2")
	d.Marks = &Marks{Retired: &Retired{By: "alice"}}
	ok(t, errorOf(l.Store.Update(t.Context(), func(tx state.Tx) error { return devices.Put(tx, "n2", d) })))
	l.unchanged(t, func() {
		wantFault(t, errorOf(l.Ask(t.Context(), "bob", Only("n2"), "")), fault.Failed, "n2 is out of service", "node show n2")
	})
}

func TestAsksAreBounded(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	for i := range asksAnHour + 2 {
		n := Name(fmt.Sprintf("m%d", i))
		l.node(t, n, "m1")
		ok(t, errorOf(l.Acquire(t.Context(), "bob", Only(n), Remarks{}, consent.Agreement{})))
	}
	ok(t, errorOf(l.Ask(t.Context(), "carol", parse("m0,m1"), ""))) // at once, so that is one time
	for i := range asksAnHour - 1 {
		ok(t, errorOf(l.Ask(t.Context(), "carol", Only(Name(fmt.Sprintf("m%d", i+2))), "")))
	}
	l.unchanged(t, func() {
		wantFault(t, errorOf(l.Ask(t.Context(), "carol", Only("n1"), "")), fault.InUse, "you asked bob 10 times within an hour", "node show --free")
	})
	if told := l.hears(t, "bob"); len(told) != asksAnHour || told[0] != "carol asks for 2 of your nodes: m0, m1; to give them: node give m0,m1 carol" {
		t.Errorf("bob was told %q", told)
	}
}

// What is given is its new owner's at once: the image, the node, and not what was said of it.
func TestGive(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	l.image(t, images.Image{Ref: ref("bob/mine"), Digest: sum("mine"), Models: []images.Model{"m1"}})
	l.image(t, images.Image{Ref: ref("carol/mine"), Digest: sum("hers"), Models: []images.Model{"m1"}})
	ok(t, errorOf(l.Acquire(t.Context(), "bob", Only("n3"), Remarks{}, consent.Agreement{})))
	ok(t, errorOf(l.SetImage(t.Context(), "bob", Only("n1"), "mine", Remarks{Note: "x"}, consent.Agreement{})))
	l.unchanged(t, func() {
		_, err := l.Give(t.Context(), "bob", parse("n1,n3"), "carol", false)
		missing, is := errors.AsType[*NotAsked](err)
		if !is || fmt.Sprint(missing.Nodes) != "[n1 n3]" || missing.To != "carol" {
			t.Errorf("who did not ask is given %v", err)
		}
		wantFault(t, errorOf(l.Give(t.Context(), "carol", Only("n1"), "alice", false)), fault.Failed, "not yours: n1 (owned by bob)")
		wantFault(t, errorOf(l.Give(t.Context(), "bob", Only("n1"), "bob", false)), fault.Usage, "bob is you", "node release n1")
		wantFault(t, errorOf(l.Give(t.Context(), "bob", Only("n1"), "karol", false)), fault.Failed, "unknown user karol", "carol")
	})
	ok(t, errorOf(l.Ask(t.Context(), "carol", parse("n1,n3"), "")))
	l.hears(t, "bob")
	r, err := l.Give(t.Context(), "bob", parse("n1,n3"), "carol", false)
	ok(t, err)
	equal(t, "changes", changesOf(r),
		madeChange("n1", ref("carol/mine-2"), "bob", true, RebootNone), madeChange("n3", ref("carol/m1-default"), "bob", true, RebootNone))
	if len(r.Cloned) != 1 || r.Cloned[0].Ref != ref("carol/mine-2") || r.Cloned[0].Digest != sum("mine") {
		t.Errorf("cloned %+v", r.Cloned)
	}
	if d := l.device(t, "n1"); d.Said != nil || d.Owner() != "carol" {
		t.Errorf("%s has %+v", d.Owner(), d.Said)
	}
	equal(t, "told", l.hears(t, "carol"), "2 of your nodes were given to you by bob: n1, n3")
	equal(t, "nothing to tell", l.hears(t, "bob"))
	events := l.events(t, journal.Ownership)
	equal(t, "log", events[len(events)-2:], "bob n1: bob -> carol, boots carol/mine-2", "bob n3: bob -> carol, boots carol/m1-default")
	sound(t, l.Store)
}

// Without a reboot a node goes on with what it runs, which is the image that it is to boot.
func TestGiveRunning(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"})
	ok(t, errorOf(l.Create(t.Context(), "bob", Virtual{Name: "v1", Model: "m1"}, nil)))
	l.comeUp(t, "v1")
	visited, leave := l.visitors.Enter(t.Context(), "v1", "bob")
	defer leave()
	ok(t, errorOf(l.Ask(t.Context(), "carol", Only("v1"), "")))
	l.grid.take()
	r, err := l.Give(t.Context(), "bob", Only("v1"), "carol", true)
	ok(t, err)
	equal(t, "changes", changesOf(r), madeChange("v1", ref("carol/m1-default"), "bob", true, RebootSkipped))
	equal(t, "started", l.grid.take())
	if d := l.device(t, "v1"); d.Booted != ref("carol/m1-default") || l.state(t, "v1").State != Up {
		t.Errorf("it is %s, and booted %s", l.state(t, "v1").State, d.Booted)
	}
	<-visited.Done()
	missing, err := l.Wait(t.Context(), []*Device{{Name: "v1", MAC: l.device(t, "v1").MAC}}, func([]Missing) {})
	if err != nil || len(missing) > 0 {
		t.Errorf("who waits for it has to: %v, %v", missing, err)
	}
	l.hears(t, "carol")
	ok(t, errorOf(l.Ask(t.Context(), "bob", Only("v1"), "")))
	ok(t, errorOf(l.Give(t.Context(), "carol", Only("v1"), "bob", false)))
	equal(t, "started", l.grid.take(), "v1")
}

// An offer that is over is not told to who logs in later; the next one is told.
func TestOfferThatIsOver(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Give(t.Context(), "bob", Only("n1"), "carol", false)
	missing, is := errors.AsType[*NotAsked](err)
	if !is {
		t.Fatal(err)
	}
	for _, seen := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		w := l.Store.Watch("notice/carol/")
		ended := make(chan error, 1)
		go func() { ended <- l.Offer(ctx, "bob", missing) }()
		_, err := w.Next(t.Context())
		ok(t, err)
		w.Close()
		if seen {
			equal(t, "told", l.hears(t, "carol"), "bob would give you n1; to take that: node ask n1")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the offer ends with %v", err)
		}
		equal(t, "told later", l.hears(t, "carol"))
	}
}

// An offer ends when it is taken, and is told once a minute.
func TestOffer(t *testing.T) {
	t.Parallel()
	l := newTeam(t)
	_, err := l.Give(t.Context(), "bob", Only("n1"), "carol", false)
	missing, is := errors.AsType[*NotAsked](err)
	if !is {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- l.Offer(t.Context(), "bob", missing) }()
	}
	w := l.Store.Watch("notice/carol/")
	defer w.Close()
	told := l.hears(t, "carol")
	for len(told) == 0 {
		_, err := w.Next(t.Context())
		ok(t, err)
		told = l.hears(t, "carol")
	}
	equal(t, "told", told, "bob would give you n1; to take that: node ask n1")
	ok(t, errorOf(l.Ask(t.Context(), "carol", Only("n1"), "")))
	ok(t, <-ended)
	ok(t, <-ended)
	equal(t, "the answer is told to who waits for it alone", l.hears(t, "bob"))
	equal(t, "told once", l.hears(t, "carol"))
	ok(t, errorOf(l.Give(t.Context(), "bob", Only("n1"), "carol", false)))
}
