package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Tags are told, taken and kept by whoever, of any device.
func TestTags(t *testing.T) {
	t.Parallel()
	l := newMix(t)
	tag := func(set string, tags ...string) {
		t.Helper()
		_, err := l.Tag(t.Context(), "bob", parse(set), tags)
		ok(t, err)
	}
	tag("rpi-1,pc-1,sw-1", "lora", "rack-3")
	tag("rpi-1", "gps", "lora", "gps")
	equal(t, "tags of rpi-1", l.device(t, "rpi-1").Marks.Tags, "gps", "lora", "rack-3")
	known, err := l.Tags(t.Context())
	ok(t, err)
	equal(t, "tags", known, "gps", "lora", "rack-3")
	ds, err := l.Untag(t.Context(), "carol", parse("all-devices"), []string{"lora", "gps"})
	ok(t, err)
	if len(ds) != 6 {
		t.Errorf("%d devices were asked for", len(ds))
	}
	equal(t, "tags of rpi-1", l.device(t, "rpi-1").Marks.Tags, "rack-3")
	_, err = l.Untag(t.Context(), "bob", parse("rpi-1"), []string{"lora", "rock-3"})
	wantFault(t, err, fault.Failed, "unknown tags lora, rock-3", "did you mean rack-3 instead of rock-3")
	_, err = l.Tag(t.Context(), "bob", parse("rpi-1,nothing"), []string{"x"})
	wantFault(t, err, fault.Failed, "unknown device nothing")

	_, err = l.Rename(t.Context(), "alice", "rpi-1", "rpi-9", consent.Agreement{})
	ok(t, err)
	ok(t, errorOf(l.Acquire(t.Context(), "carol", Only("rpi-9"), Remarks{}, consent.Agreement{})))
	got, err := l.expand(t, "bob", "tag:rack-3", deviceScope)
	ok(t, err)
	equal(t, "in rack-3", got, "pc-1", "rpi-9", "sw-1")
	_, err = l.Untag(t.Context(), "bob", parse("tag:rack-3"), []string{"rack-3"})
	ok(t, err)
	if d := l.device(t, "rpi-9"); d.Marks != nil {
		t.Errorf("it has marks: %+v", d.Marks)
	}
	_, err = l.expand(t, "bob", "tag:rack-3", deviceScope)
	wantFault(t, err, fault.Failed, "unknown tag rack-3")

	var many []string
	for i := range mostTags + 1 {
		many = append(many, fmt.Sprint("t", i))
	}
	_, err = l.Tag(t.Context(), "bob", parse("odd,rpi-2"), many)
	wantFault(t, err, fault.Failed, "odd would have 31 tags, of which 30 are possible")
	if d := l.device(t, "odd"); d.Marks != nil {
		t.Errorf("it has marks: %+v", d.Marks)
	}
	events := strings.Join(l.events(t, journal.Registration), "\n")
	for _, want := range []string{"tagged lora, rack-3", "tagged gps", "untagged gps, lora", "untagged rack-3"} {
		if !strings.Contains(events, want) {
			t.Errorf("the log does not tell %q: %s", want, events)
		}
	}
	checkView(t, l)
}

func TestParseTag(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"LoRa": "lora", "rack-3": "rack-3", "3.5_v": "3.5_v", strings.Repeat("x", 40): strings.Repeat("x", 40)} {
		if tag, err := ParseTag(s); err != nil || tag != want {
			t.Errorf("%q: got %q, %v", s, tag, err)
		}
	}
	for _, s := range []string{"", "-x", ".x", "a b", "a,b", "a+b", "tag:x", "x*", "ü", "x\n", strings.Repeat("x", 41)} {
		_, err := ParseTag(s)
		wantFault(t, err, fault.Usage, "invalid tag")
	}
}

// What is out of service is given to nobody who wants any, is taken by its name all the
// same, and stays so whoever has it, until it is returned.
func TestRetired(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob", "carol"}, "n1", "n2", "n3")
	retire := func(set, why string, given consent.Agreement) error {
		_, err := l.Retire(t.Context(), "bob", parse(set), why, given)
		return err
	}
	ok(t, retire("n1", "SD slot 100% broken", consent.Agreement{}))
	if r := l.device(t, "n1").Marks.Retired; r.By != "bob" || r.Why != "SD slot 100% broken" || r.Since.IsZero() {
		t.Errorf("it is %+v", r)
	}
	checkView(t, l)
	_, err := l.AcquireAny(t.Context(), "carol", Some{N: 3}, Remarks{})
	wantFault(t, err, fault.InUse, "only 2 of the 3 nodes")
	_, err = l.AcquireAny(t.Context(), "carol", Some{N: 1, Set: parse("n1,n2+not:model:m1")}, Remarks{})
	wantFault(t, err, fault.InUse, "no node of n1,n2+not:model:m1 is free")
	r, err := l.AcquireAny(t.Context(), "carol", Some{N: 1, Set: parse("n1,n3")}, Remarks{})
	ok(t, err)
	if r.Changes[0].Node != "n3" || r.Changes[0].Retired != nil {
		t.Errorf("she got %+v", r.Changes[0])
	}

	r, err = l.Acquire(t.Context(), "carol", parse("n1,n2"), Remarks{}, consent.Agreement{})
	ok(t, err)
	if r.Changes[0].Retired == nil || r.Changes[1].Retired != nil {
		t.Errorf("what is told of them: %+v", r.Changes)
	}
	if _, asks := errors.AsType[*consent.Error](retire("n2", "", consent.Agreement{})); !asks {
		t.Error("others' nodes are retired unasked")
	}
	ok(t, retire("n2", "50% deaf", consent.Agreement{Whoever: true}))
	equal(t, "carol's notices", l.unseen(t, "carol"), `bob took your node n2 out of service, saying "50% deaf"`)
	_, err = l.Rename(t.Context(), "carol", "n2", "n9", consent.Agreement{})
	ok(t, err)
	_, err = l.Release(t.Context(), "carol", parse("my-nodes"))
	ok(t, err)
	r, err = l.AcquireAny(t.Context(), "carol", Some{N: 1}, Remarks{})
	ok(t, err)
	equal(t, "given", []Name{r.Changes[0].Node}, "n3")

	back, err := l.Return(t.Context(), "carol", parse("all-nodes"))
	ok(t, err)
	if len(back) != 2 || l.device(t, "n9").Marks != nil {
		t.Errorf("they are returned: %v", back)
	}
	checkView(t, l)
	r, err = l.AcquireAny(t.Context(), "bob", Some{N: 2}, Remarks{})
	ok(t, err)
	if len(r.Changes) != 2 {
		t.Errorf("he got %+v", r.Changes)
	}
	back, err = l.Return(t.Context(), "bob", parse("n1"))
	if err != nil || len(back) > 0 {
		t.Errorf("it is returned twice: %v, %v", back, err)
	}
	sound(t, l.Store)
}

// A new default image is not tried on a node that is out of service.
func TestRetiredIsNoCanary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newCanaries(t)
		for _, n := range []Name{"v1", "v2"} {
			l.comeUp(t, n)
		}
		ok(t, errorOf(l.Retire(t.Context(), "bob", Only("v1"), "", consent.Agreement{})))
		if got := l.try(t); got != "v2" {
			t.Errorf("%q is tried", got)
		}
		l.settle(t, true)
		ok(t, errorOf(l.Retire(t.Context(), "bob", Only("v2"), "", consent.Agreement{})))
		if got := l.try(t); got != "" {
			t.Errorf("%q is tried", got)
		}
	})
}

// Of a node that is out of service no power is saved: one that was off for that gets it
// back, and one that is returned is idle from then on.
func TestRetiredSavesNoPower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, r := wired(t, 2*time.Hour, []auth.Name{"bob"}, "n1", "n2", "n3")
		stop := l.run(t)
		defer func() { stop() }()
		ok(t, errorOf(l.Retire(t.Context(), "bob", Only("n1"), "", consent.Agreement{})))
		time.Sleep(2*time.Hour + time.Second)
		synctest.Wait()
		equal(t, "ports off", r.Dark(), "one:161/2", "one:161/3")
		r.Cycles()
		ok(t, errorOf(l.Retire(t.Context(), "bob", Only("n2"), "", consent.Agreement{})))
		synctest.Wait()
		equal(t, "ports off when n2 is retired", r.Dark(), "one:161/3")
		stop()
		time.Sleep(3 * time.Hour)
		stop = l.run(t)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		equal(t, "ports off much later", r.Dark(), "one:161/3")
		ok(t, errorOf(l.Return(t.Context(), "bob", parse("n1,n2"))))
		time.Sleep(2*time.Hour - time.Minute)
		synctest.Wait()
		equal(t, "ports off soon after they are returned", r.Dark(), "one:161/3")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		equal(t, "ports off after it", r.Dark(), "one:161/1", "one:161/2", "one:161/3")
	})
}

// Marks are in the rows as they are said, and cost those that have none nothing.
func TestMarksInRows(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n1", "n2")
	ok(t, errorOf(l.Tag(t.Context(), "bob", Only("n1"), []string{"lora"})))
	ok(t, errorOf(l.Retire(t.Context(), "bob", Only("n1"), "fan", consent.Agreement{})))
	ok(t, errorOf(l.Untag(t.Context(), "bob", Only("n1"), []string{"lora"})))
	ok(t, l.Store.View(t.Context(), func(r state.Reader) error {
		for n, has := range map[string]bool{"n1": true, "n2": false} {
			row, err := r.Get("device/" + n)
			ok(t, err)
			if s := string(row); strings.Contains(s, `"marks":{"retired":{"by":"bob",`) != has || strings.Contains(s, "tags") {
				t.Errorf("%s: %s", n, s)
			}
		}
		return nil
	}))
	shown, err := inFull(l.Show(t.Context(), "bob", parse("n1")))
	ok(t, err)
	if why := shown[0].OutOfService(); why == nil || why.Why != "fan" {
		t.Errorf("it is shown as %+v", why)
	}
	glances, err := l.All(t.Context())
	ok(t, err)
	var out []Name
	for n, err := range glances.Glances(t.Context()) {
		ok(t, err)
		if n.OutOfService() != nil {
			out = append(out, n.Name)
		}
	}
	if !slices.Equal(out, []Name{"n1"}) {
		t.Errorf("out of service: %v", out)
	}
	if d := l.device(t, "n1"); !d.Free() || d.Image != images.DefaultRef("m1") {
		t.Errorf("it is %+v", d)
	}
}

// A retired node that is free goes on, and so do the sessions on it, when its default image gets
// other content: it boots that when it is returned. One that somebody has follows its image.
func TestRetiredNodesRest(t *testing.T) {
	t.Parallel()
	l := newCanaries(t)
	l.comeUp(t, "v1")
	l.comeUp(t, "v2")
	ok(t, errorOf(l.Retire(t.Context(), "bob", parse("v1"), "", consent.Agreement{})))
	_, leave := l.visitors.Enter(t.Context(), "v1", "carol")
	defer leave()
	l.grid.take()
	update := func(ref images.Ref) {
		restarts, err := l.Change(t.Context(), "server", func(c images.Change) error {
			using, err := c.Booting(ref)
			for _, n := range using {
				if len(n.Visitors) > 0 {
					t.Errorf("%v on %s are disturbed", n.Visitors, n.Node)
				}
				err = errors.Join(err, c.Restart(n))
			}
			return errors.Join(err, images.Put(c, images.Image{Ref: ref, Digest: sum("newer"), Models: []images.Model{"m1"}}))
		})
		ok(t, err)
		if len(restarts) != 1 {
			t.Errorf("restarted are %+v", restarts)
		}
	}
	update(images.DefaultRef("m1"))
	equal(t, "started", l.grid.take(), "v2")
	leave()
	ok(t, errorOf(l.Return(t.Context(), "bob", parse("v1,v2"))))
	equal(t, "started when it is returned", l.grid.take(), "v1")
	l.comeUp(t, "v1")
	ok(t, errorOf(l.Retire(t.Context(), "bob", parse("v1"), "", consent.Agreement{})))
	ok(t, errorOf(l.Return(t.Context(), "bob", parse("v1"))))
	equal(t, "started without anything new", l.grid.take())

	ok(t, errorOf(l.Acquire(t.Context(), "bob", parse("v1"), Remarks{}, consent.Agreement{})))
	ok(t, errorOf(l.Retire(t.Context(), "bob", parse("v1"), "", consent.Agreement{})))
	l.grid.take()
	update(ref("bob/m1-default"))
	equal(t, "started of bob's", l.grid.take(), "v1")
	l.works.Wait()
}
