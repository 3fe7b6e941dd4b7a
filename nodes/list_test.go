package nodes

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"walt/auth"
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
		for _, err := range all.OwnFirst("bob").Each(b.Context()) {
			ok(b, err)
			n++
		}
		if n != 100_000 {
			b.Fatalf("%d nodes", n)
		}
	}
}
