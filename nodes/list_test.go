package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"walt/auth"
	"walt/consent"
	"walt/images"
	"walt/power"
	"walt/state"
)

// TestListFollows has devices change while a list of them is read: each is shown as it
// is when it is its turn, and those that are gone are left out.
func TestListFollows(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	const n = 3 * pageSize
	l.populate(t, n)
	last := Name(fmt.Sprintf("n-%d", n-1))
	for what, find := range map[string]func() (List, error){
		"all": func() (List, error) { return l.All(t.Context()) },
		"set": func() (List, error) { return l.Show(t.Context(), "bob", parse("n-*")) },
	} {
		list, err := find()
		ok(t, err)
		if list.Len() != n {
			t.Fatalf("%s: %d devices are listed", what, list.Len())
		}
		var gone Device
		var shown []Name
		for d, err := range list.Each(t.Context()) {
			ok(t, err)
			if shown == nil {
				_, err := l.Store.Update(t.Context(), func(tx state.Tx) (err error) {
					if gone, err = get(tx, last); err != nil {
						return err
					}
					other, err := get(tx, "n-500")
					other.Digest = "by " + what
					return errors.Join(err, devices.Put(tx, "n-500", other), remove(tx, gone))
				})
				ok(t, err)
			}
			if d.Name == "n-500" && d.Digest != "by "+what {
				t.Errorf("%s: a device is shown as it was before", what)
			}
			shown = append(shown, d.Name)
		}
		_, err = l.Store.Update(t.Context(), func(tx state.Tx) error { return put(tx, gone) })
		ok(t, err)
		if len(shown) != n-1 || slices.Contains(shown, last) || !slices.IsSortedFunc(shown, Name.Compare) {
			t.Errorf("%s: %d devices are shown: %v", what, len(shown), shown)
		}
	}
}

// TestGlances has glances tell what a closer look does, of nodes in all states, and while
// others change them.
func TestGlances(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	const n = 2 * pageSize
	l.populate(t, n)
	l.image(t, images.Image{Ref: images.Ref{User: "bob", Name: "i", Tag: "latest"}, Digest: "i", Models: []images.Model{"m1"}})
	for i, s := range States() {
		l.status.change(Name(fmt.Sprintf("n-%d", i)), func(st *Status) { st.State, st.Why = s, "told of "+string(s) })
	}
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		d, err := get(tx, "n-7")
		d.Host = Simulated
		return errors.Join(err, put(tx, d), power.AddMachine(tx, d.MAC))
	})
	ok(t, err)
	ok(t, l.PowerOff(t.Context(), "bob", parse("n-7"), false, consent.Agreement{}, func(Change) {}))
	_, err = l.Acquire(t.Context(), "bob", parse("n-8,n-9,n-210"), Remarks{}, consent.Agreement{})
	ok(t, err)
	check := func(what string, list List, change func()) {
		t.Helper()
		var quick, close []string
		for g, err := range list.Glances(t.Context()) {
			ok(t, err)
			if quick == nil && change != nil {
				change()
			}
			quick = append(quick, fmt.Sprint(g.Name, g.Traits.Value(), g.Since, g.State, g.Why))
		}
		for d, err := range list.Each(t.Context()) {
			ok(t, err)
			close = append(close, fmt.Sprint(d.Name, Traits{d.Kind, d.Model, d.Host, d.Image, d.Retired() != nil}, d.Since, d.State, d.Status.Why))
		}
		for i := range close {
			if i >= len(quick) || quick[i] != close[i] {
				t.Fatalf("%s: %d of %d, at %d\n%s\n%s", what, len(quick), len(close), i, quick[min(i, len(quick)-1)], close[i])
			}
		}
	}
	all, err := l.All(t.Context())
	ok(t, err)
	check("all", all.OwnFirst("bob"), nil)
	check("changed", all, func() {
		_, err := l.Acquire(t.Context(), "bob", parse("n-300"), Remarks{}, consent.Agreement{})
		ok(t, err)
		_, err = l.Forget(t.Context(), "alice", parse("n-301"), consent.Agreement{})
		ok(t, err)
	})
	off, err := all.Where(t.Context(), func(g *Glance) bool { return g.State == Off && g.Why != "" })
	ok(t, err)
	equal(t, "off for a reason", slices.Collect(off.Names()), "n-0", "n-7")
	mine, err := l.All(t.Context())
	ok(t, err)
	equal(t, "own first", slices.Collect(mine.OwnFirst("bob").Names())[:5], "n-8", "n-9", "n-210", "n-300", "n-0")
}

// TestListsKeepWhatTheyFound has devices change while lists of all are held, which share
// what the view has of them.
func TestListsKeepWhatTheyFound(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"}, "n-1", "n-2", "n-3")
	first, err := l.All(t.Context())
	ok(t, err)
	_, err = l.Forget(t.Context(), "alice", parse("n-2"), consent.Agreement{})
	ok(t, err)
	checkView(t, l)
	second, err := l.All(t.Context())
	ok(t, err)
	l.node(t, "n-0", "m1")
	checkView(t, l)
	third, err := l.All(t.Context())
	ok(t, err)
	equal(t, "first", slices.Collect(first.Names()), "n-1", "n-2", "n-3")
	equal(t, "second", slices.Collect(second.Names()), "n-1", "n-3")
	equal(t, "third", slices.Collect(third.Names()), "n-0", "n-1", "n-3")
}

// TestListsEnd has the user give up while a list is shown: what follows is not visited.
func TestListsEnd(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.populate(t, 3*pageSize)
	all, err := l.All(t.Context())
	ok(t, err)
	check := func(what string, visit func(ctx context.Context, each func(err error))) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		visited, last := 0, error(nil)
		visit(ctx, func(err error) {
			cancel()
			visited, last = visited+1, err
		})
		if visited > pageSize+1 || !errors.Is(last, context.Canceled) {
			t.Errorf("%s: %d were visited, the last with %v", what, visited, last)
		}
	}
	check("devices", func(ctx context.Context, each func(error)) {
		for _, err := range all.Each(ctx) {
			each(err)
		}
	})
	check("glances", func(ctx context.Context, each func(error)) {
		for _, err := range all.Glances(ctx) {
			each(err)
		}
	})
	config, err := l.Settings(t.Context(), "alice", parse("all-nodes"), true, []string{"boot.retries"})
	ok(t, err)
	check("settings", func(ctx context.Context, each func(error)) {
		for _, err := range config.Each(ctx) {
			each(err)
		}
	})
}

// BenchmarkList finds all of 100,000 nodes and shows them.
func BenchmarkList(b *testing.B) {
	l := newLab(b, nil)
	l.populate(b, 100_000)
	ok(b, l.view.Read(b.Context(), func() {}))
	b.ReportAllocs()
	for b.Loop() {
		all, err := l.All(b.Context())
		ok(b, err)
		n := 0
		for _, err := range all.OwnFirst("bob").Glances(b.Context()) {
			ok(b, err)
			n++
		}
		if n != 100_000 {
			b.Fatalf("%d nodes", n)
		}
	}
}
