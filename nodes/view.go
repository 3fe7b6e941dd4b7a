package nodes

import (
	"context"
	"path"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"unique"

	"walt/auth"
	"walt/ethernet"
	"walt/images"
	"walt/state"
)

// view is the devices in memory, arranged as they are asked for: for what is
// shown, and to pick among many. Its slices and records belong to it, and change
// when no Read runs: what is kept is copied, records need not be.
//
// It takes some 400 bytes for a node without settings.
type view struct {
	*state.Mirror[Device]
	named  map[Name]*Device
	all    []brief                 // in natural order
	keyed  []*Device               // in the order of bytes, in which those with a prefix are side by side
	owned  map[auth.Name][]*Device // the nodes of each owner, those of auth.Nobody too, in natural order
	models map[images.Model]int    // how many nodes each has
	// switches are the names of those by their MAC, and of what may yet become one.
	switches map[ethernet.MAC]Name
	pool     *pool            // the free nodes
	ending   []*Device        // those whose hold has an end, those first that end first
	tied     map[Name]*Device // those that are held only while their owners are connected
	held     chan struct{}    // closed when that changes
	age      int              // counts the commits that changed something
	lent     atomic.Bool      // all is held by others, too: it is copied before it changes
}

func newView(s state.Store, p *pool) *view {
	v := &view{pool: p, held: make(chan struct{})}
	v.Mirror = state.NewMirror(s, devices, v.apply)
	return v
}

// many is from how many changes in one commit on everything is arranged anew, rather
// than each followed.
const many = 256

func (v *view) apply(all bool, changes []state.Change[Device]) {
	if all {
		v.named, v.all, v.keyed = make(map[Name]*Device, len(changes)), nil, nil
	}
	v.age++
	bulk := all || len(changes) > many
	var fresh []Name
	for _, c := range changes {
		name := Name(c.Key)
		was := v.named[name]
		if c.Row == nil {
			delete(v.named, name)
		} else {
			c.Row.share(was)
			v.named[c.Row.Name] = c.Row
			if was == nil {
				fresh = append(fresh, name)
			}
		}
		if !bulk {
			v.replace(was, c.Row)
		}
	}
	if bulk {
		v.arrange(fresh)
	}
}

// byEnd orders those whose hold has an end.
func byEnd(a, b *Device) int {
	if order := a.Hold().Compare(b.Hold()); order != 0 {
		return order
	}
	return byKey(a, b)
}

// ends returns the device if its hold has an end, else nil.
func (d *Device) ends() *Device {
	if d == nil || d.Hold().IsZero() {
		return nil
	}
	return d
}

// tie follows a device that is tied, or was.
func (v *view) tie(was, is *Device) {
	if was != nil {
		delete(v.tied, was.Name)
	}
	if is.tied() != nil {
		if v.tied == nil {
			v.tied = map[Name]*Device{}
		}
		v.tied[is.Name] = is
	}
}

// reheld tells who waits for it that the ends of holds changed.
func (v *view) reheld() {
	close(v.held)
	v.held = make(chan struct{})
}

// share has the device hold the same strings as others that say the same, and as what it
// was before; nil is for nothing.
func (d *Device) share(was *Device) {
	if was != nil && was.MAC == d.MAC {
		d.Name, d.MAC = was.Name, was.MAC
	}
	d.traits = unique.Make(Traits{d.Kind, d.Model, d.Host, d.Image, d.Retired() != nil})
	t := d.traits.Value()
	d.Kind, d.Model, d.Host, d.Image = t.Kind, t.Model, t.Host, t.Image
	d.Booted, d.Digest = unique.Make(d.Booted).Value(), unique.Make(d.Digest).Value()
}

// arrange fills everything from named: first what there was before, and then what is
// fresh, in the order of keys at best, for orders that are nearly right are made quickly.
func (v *view) arrange(fresh []Name) {
	all := v.renew(v.which(func(*Device) bool { return true }), fresh, naturally)
	v.all, v.keyed = briefs(all), v.renew(v.keyed, fresh, byKey)
	v.owned, v.models, v.switches = map[auth.Name][]*Device{}, map[images.Model]int{}, map[ethernet.MAC]Name{}
	for _, d := range all {
		if d.Kind == Node {
			v.owned[d.Owner()] = append(v.owned[d.Owner()], d)
			v.models[d.Model]++
		} else {
			v.switches[d.MAC] = d.Name
		}
	}
	v.pool.fill(v.owned[auth.Nobody])
	v.ending = v.which(func(d *Device) bool { return d.ends() != nil })
	slices.SortFunc(v.ending, byEnd)
	v.tied = map[Name]*Device{}
	for _, d := range v.which(func(d *Device) bool { return d.tied() != nil }) {
		v.tied[d.Name] = d
	}
	v.reheld()
}

// renew returns all devices in an order that before was in.
func (v *view) renew(before []*Device, fresh []Name, order func(a, b *Device) int) []*Device {
	all := make([]*Device, 0, len(v.named))
	for _, d := range before {
		if d = v.named[d.Name]; d != nil {
			all = append(all, d)
		}
	}
	for _, name := range fresh {
		if d := v.named[name]; d != nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, order)
	return slices.Compact(all) // one may have come and gone and come within a commit
}

// replace follows one device; nil is for none.
func (v *view) replace(was, is *Device) {
	v.pool.replace(was, is)
	if was.ends() != nil || is.ends() != nil {
		v.ending = exchange(v.ending, was.ends(), is.ends(), byEnd)
		v.reheld()
	}
	if was.tied() != nil || is.tied() != nil {
		v.tie(was, is)
		v.reheld()
	}
	if v.lent.Swap(false) {
		v.all = slices.Clone(v.all)
	}
	v.all, v.keyed = exchange(v.all, was.brief(), is.brief(), brief.order), exchange(v.keyed, was, is, byKey)
	if was != nil {
		if was.Kind == Node {
			v.owned[was.Owner()] = without(v.owned[was.Owner()], was, naturally)
			if len(v.owned[was.Owner()]) == 0 {
				delete(v.owned, was.Owner())
			}
			if v.models[was.Model]--; v.models[was.Model] == 0 {
				delete(v.models, was.Model)
			}
		} else if v.switches[was.MAC] == was.Name { // else it has another name by now
			delete(v.switches, was.MAC)
		}
	}
	if is != nil {
		if is.Kind == Node {
			v.owned[is.Owner()] = with(v.owned[is.Owner()], is, naturally)
			v.models[is.Model]++
		} else {
			v.switches[is.MAC] = is.Name
		}
	}
}

func (b brief) order(other brief) int { return b.name.Compare(other.name) }

func naturally(a, b *Device) int { return a.Name.Compare(b.Name) }

func byKey(a, b *Device) int { return strings.Compare(string(a.Name), string(b.Name)) }

func longestAgo(a, b *Device) int {
	if order := a.Since.Compare(b.Since); order != 0 {
		return order
	}
	return naturally(a, b)
}

// exchange puts one in the place of another; the zero value is for none. Mostly that is its
// own, and nothing is moved.
func exchange[T comparable](all []T, was, is T, order func(a, b T) int) []T {
	var none T
	if was != none && is != none && order(was, is) == 0 {
		if at, found := slices.BinarySearchFunc(all, was, order); found {
			all[at] = is
			return all
		}
	}
	if was != none {
		all = without(all, was, order)
	}
	if is != none {
		all = with(all, is, order)
	}
	return all
}

func with[T any](all []T, one T, order func(a, b T) int) []T {
	at, _ := slices.BinarySearchFunc(all, one, order)
	return slices.Insert(all, at, one)
}

func without[T any](all []T, one T, order func(a, b T) int) []T {
	at, found := slices.BinarySearchFunc(all, one, order)
	if !found {
		return all
	}
	return slices.Delete(all, at, at+1)
}

// lend returns all devices for good: what changes from now on changes a copy.
func (v *view) lend() []brief {
	v.lent.Store(true)
	return v.all
}

// which returns the devices that are wanted, in natural order.
func (v *view) which(wanted func(*Device) bool) []*Device {
	found := make([]*Device, 0, len(v.all)) // growing it would leave several times as much garbage
	for _, b := range v.all {
		if wanted(b.device) {
			found = append(found, b.device)
		}
	}
	return found
}

// under returns the devices whose names begin with the prefix, in the order of bytes: a
// part of what the view has, which the caller does not keep.
func (v *view) under(prefix string) []*Device {
	from, _ := slices.BinarySearchFunc(v.keyed, &Device{Name: Name(prefix)}, byKey)
	begun := v.keyed[from:]
	return begun[:sort.Search(len(begun), func(i int) bool { return !strings.HasPrefix(string(begun[i].Name), prefix) })]
}

// read returns what pick copies of the view.
func read[T any](ctx context.Context, v *view, pick func() T) (found T, err error) {
	err = v.Read(ctx, func() { found = pick() })
	return found, err
}

// seen are the devices of the view, as a source of sets.
type seen struct{ place }

func (s seen) device(n Name) (*Device, error) {
	return read(s.ctx, s.lab.view, func() *Device { return s.lab.view.named[n] })
}

func (s seen) ownedBy(owner auth.Name) ([]*Device, error) {
	return read(s.ctx, s.lab.view, func() []*Device { return slices.Clone(s.lab.view.owned[owner]) })
}

func (s seen) which(wanted func(*Device) bool) ([]*Device, error) {
	return read(s.ctx, s.lab.view, func() []*Device { return s.lab.view.which(wanted) })
}

func (s seen) picked(wanted func(*Device) bool, few func([]*Device) ([]*Device, error)) ([]*Device, error) {
	some, err := s.which(wanted)
	if err != nil {
		return nil, err
	}
	return few(some)
}

func (s seen) named(glob string) ([]*Device, error) {
	return read(s.ctx, s.lab.view, func() (found []*Device) {
		for _, d := range s.lab.view.under(glob[:strings.IndexAny(glob, globSigns)]) {
			if ok, _ := path.Match(glob, string(d.Name)); ok {
				found = append(found, d)
			}
		}
		return found
	})
}
