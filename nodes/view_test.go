package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"unsafe"

	"walt/auth"
	"walt/state"
)

// checkView checks that the view holds the devices that the store does, in the
// order in which it would arrange them anew.
func checkView(t *testing.T, l testLab) {
	t.Helper()
	stored, err := state.Read(t.Context(), l.Store, everything)
	ok(t, err)
	fresh := newView(l.Store, newPool(func() {}))
	fresh.named = map[Name]*Device{}
	for _, d := range stored {
		d.share(nil)
		fresh.named[d.Name] = &d
	}
	for n := range fresh.named {
		fresh.pool.heard(n, l.status.of(n).State)
	}
	fresh.arrange(slices.Collect(maps.Keys(fresh.named)))
	same := func(a, b []*Device) bool {
		return slices.EqualFunc(a, b, func(a, b *Device) bool { return sameDevice(*a, *b) })
	}
	ok(t, l.view.Read(t.Context(), func() {
		v := l.view
		free, wanted := v.pool.list(), fresh.pool.list()
		for what, is := range map[string]bool{
			"all":      same(records(v.all), records(fresh.all)) && !slices.ContainsFunc(v.all, func(b brief) bool { return b != b.device.brief() }),
			"traits":   slices.EqualFunc(v.all, fresh.all, func(a, b brief) bool { return a.traits == b.traits }),
			"keyed":    same(v.keyed, fresh.keyed),
			"pool":     slices.EqualFunc(free[:], wanted[:], func(a, b parts) bool { return same(slices.Collect(a.which(nil)), slices.Collect(b.which(nil))) }),
			"named":    maps.EqualFunc(v.named, fresh.named, func(a, b *Device) bool { return sameDevice(*a, *b) }),
			"owned":    maps.EqualFunc(v.owned, fresh.owned, same),
			"switches": maps.Equal(v.switches, fresh.switches),
			"models":   maps.Equal(v.models, fresh.models),
			"ending":   same(v.ending, fresh.ending),
		} {
			if !is {
				t.Errorf("the view has other devices than the store: %s", what)
			}
		}
	}))
}

func records(all []brief) (ds []*Device) {
	for _, b := range all {
		ds = append(ds, b.device)
	}
	return ds
}

func sameDevice(a, b Device) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// TestViewOfMany has one change reach more devices than are followed one by one.
// Of a lab of 100,000 nodes each byte of a record is 0.2 MiB of the server's memory, for
// the collector keeps as much room again. What most nodes have not set wants to be in
// Settings, Remarks or Marks.
func TestRecordIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Device{}); size > 272 {
		t.Errorf("a device takes %d bytes in memory", size)
	}
}

func TestViewOfMany(t *testing.T) {
	t.Parallel()
	l := newLab(t, []auth.Name{"bob"})
	_, err := l.Store.Update(t.Context(), func(tx state.Tx) error {
		for i := range 2 * many {
			name := fmt.Sprintf("n-%d", i)
			d := Device{Name: Name(name), MAC: macOf(name), Kind: Node, Model: "m1", Image: defaultOf("m1").Ref}
			if err := put(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	ok(t, err)
	checkView(t, l)
	got, err := l.AcquireAny(t.Context(), "bob", Some{N: 300}, Remarks{})
	ok(t, err)
	if len(got.Changes) != 300 {
		t.Errorf("%d nodes were acquired", len(got.Changes))
	}
	checkView(t, l)
	mine, err := inFull(l.Mine(t.Context(), "bob"))
	ok(t, err)
	if len(mine) != 300 {
		t.Errorf("bob has %d nodes", len(mine))
	}
	_, err = l.Release(t.Context(), "bob", parse("my-nodes"))
	ok(t, err)
	checkView(t, l)
	// Of many, one goes and comes again at once, one comes and goes, and one goes.
	_, err = l.Store.Update(t.Context(), func(tx state.Tx) error {
		for i := range 2 * many {
			d, err := devices.Get(tx, fmt.Sprintf("n-%d", i))
			if err != nil {
				return err
			}
			again, late := d, d
			late.Name = "late"
			d.Digest = "other"
			key := string(d.Name)
			err = errors.Join(devices.Put(tx, key, d), devices.Delete(tx, key))
			if i != 1 {
				err = errors.Join(err, devices.Put(tx, key, again))
			}
			if err := errors.Join(err, devices.Put(tx, "late", late), devices.Delete(tx, "late")); err != nil {
				return err
			}
		}
		return nil
	})
	ok(t, err)
	checkView(t, l)
}
