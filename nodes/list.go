package nodes

import (
	"context"
	"iter"
	"slices"

	"walt/auth"
	"walt/ethernet"
	"walt/power"
	"walt/state"
)

// List is devices that are to be shown, in natural order at first. It holds which were
// found and nothing else: what a device is and does is looked up when it is its turn,
// some devices at a time, so that a list of many costs little while its reader takes
// nothing.
type List struct {
	lab   *Lab
	scope scope
	among []brief  // not to be changed: it may be all of the view
	which []uint32 // indexes of those that are in the list
	age   int      // of the view that they were found in, or of one before
}

// list returns devices of the view.
func (l *Lab) list(ctx context.Context, sc scope, some func() []*Device) (List, error) {
	all := List{lab: l, scope: sc}
	err := l.view.Read(ctx, func() {
		all.age = l.view.age
		all.hold(some())
	})
	return all, err
}

// hold has the list be these devices of the view.
func (l *List) hold(some []*Device) {
	l.among, l.which = briefs(some), make([]uint32, len(some))
	for i := range l.which {
		l.which[i] = uint32(i)
	}
}

// listAll returns all devices of the view that are of a kind, or all when it is "".
func (l *Lab) listAll(ctx context.Context, sc scope, kind Kind) (List, error) {
	all := List{lab: l, scope: sc}
	err := l.view.Read(ctx, func() { all.among, all.age = l.view.lend(), l.view.age })
	all.which = make([]uint32, 0, len(all.among))
	for i := range all.among {
		if kind == "" || all.among[i].traits.Value().Kind == kind {
			all.which = append(all.which, uint32(i))
		}
	}
	return all, err
}

// Len is how many were found.
func (l List) Len() int { return len(l.which) }

// Found visits the devices as they were when they were found.
func (l List) Found() iter.Seq[*Device] {
	return func(yield func(*Device) bool) {
		for _, i := range l.which {
			if !yield(l.among[i].device) {
				return
			}
		}
	}
}

// Names visits the names of what was found.
func (l List) Names() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		for _, i := range l.which {
			if !yield(l.among[i].name) {
				return
			}
		}
	}
}

// Says reports whether the owner of one of them said something that is looked for, when it
// was found.
func (l List) Says(wanted func(*Remarks) bool) bool {
	return slices.ContainsFunc(l.which, func(at uint32) bool {
		said := l.among[at].said
		return said != nil && wanted(said)
	})
}

// OwnFirst puts the user's nodes first, then the free ones, then those of others.
func (l List) OwnFirst(user auth.Name) List {
	groups, next := make([]uint8, len(l.which)), [4]int{} // of each device, and where the next one of a group goes
	for i, at := range l.which {
		switch l.among[at].traits.Value().Image.User {
		case user:
			groups[i] = 0
		case auth.Nobody:
			groups[i] = 1
		default:
			groups[i] = 2
		}
		next[groups[i]+1]++
	}
	next[2] += next[1]
	ordered := make([]uint32, len(l.which))
	for i, at := range l.which {
		ordered[next[groups[i]]] = at
		next[groups[i]]++
	}
	l.which = ordered
	return l
}

// Where returns those nodes that are wanted.
func (l List) Where(ctx context.Context, wanted func(*Glance) bool) (List, error) {
	some := make([]uint32, 0, len(l.which))
	for n, err := range l.Glances(ctx) {
		if err != nil {
			return l, err
		}
		if wanted(n) {
			some = append(some, n.at)
		}
	}
	l.which = some
	return l, nil
}

// Now returns all of them as they are now: for few.
func (l List) Now(ctx context.Context) (all []DeviceStatus, err error) {
	for d, err := range l.Each(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, *d)
	}
	return all, nil
}

// Each visits the devices, each as it is when it is its turn; those that are gone by
// then are left out. What it points to belongs to the List, and is another device
// after that. An error is the last that it visits.
func (l List) Each(ctx context.Context) iter.Seq2[*DeviceStatus, error] {
	return inPages(l.which, func(to []DeviceStatus, some []uint32) ([]DeviceStatus, error) {
		err := l.now(ctx, some, func(_ uint32, b brief) { to = append(to, DeviceStatus{Device: b.device}) })
		if err != nil {
			return to, err
		}
		return to, l.lab.addStatus(ctx, to, l.scope)
	})
}

// Glances visits the nodes as Each does, and looks at less of them: for tables of many.
func (l List) Glances(ctx context.Context) iter.Seq2[*Glance, error] {
	return inPages(l.which, func(to []Glance, some []uint32) ([]Glance, error) { return l.glances(ctx, to, some) })
}

func (l List) glances(ctx context.Context, to []Glance, some []uint32) ([]Glance, error) {
	err := l.now(ctx, some, func(at uint32, b brief) { to = append(to, b.glance(at)) })
	if err != nil {
		return to, err
	}
	return to, l.lab.addGlances(ctx, to)
}

// now calls add for some of the devices as they are now. Reading memory does not look at
// ctx, and who sees to many is to be able to stop.
func (l List) now(ctx context.Context, some []uint32, add func(at uint32, b brief)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := l.lab.view
	return v.Read(ctx, func() {
		for _, at := range some {
			b := l.among[at]
			if v.age != l.age { // looking up many takes longer than showing them
				if d := v.named[b.name]; d == nil || !l.scope.holds(d) {
					continue
				} else if d != b.device {
					b = d.brief()
				}
			}
			add(at, b)
		}
	})
}

// pageSize is how many devices are looked up at once.
const pageSize = 200

// inPages visits what look appends for some devices, and then for the next ones.
func inPages[T any](which []uint32, look func(to []T, some []uint32) ([]T, error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		page := make([]T, 0, min(len(which), pageSize))
		for some := range slices.Chunk(which, pageSize) {
			var err error
			if page, err = look(page[:0], some); err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
		}
	}
}

// addStatus adds to devices what they are doing and where they are connected.
func (l *Lab) addStatus(ctx context.Context, all []DeviceStatus, sc scope) error {
	l.status.fill(all)
	switches, connected := false, false
	err := l.Ports.Wiring(ctx, func(w power.Wiring) {
		for i := range all {
			d := &all[i]
			d.Port = w.Port(d.MAC)
			connected = connected || !d.Port.IsZero()
			switches = switches || d.Kind == Switch
			if why, off := w.Off(d.MAC); off && d.Kind == Node {
				d.Status = offStatus(why)
			}
		}
	})
	if err == nil && connected {
		err = l.view.Read(ctx, func() {
			for i := range all {
				all[i].Switch = l.view.switches[all[i].Port.Switch]
			}
		})
	}
	if err != nil || !switches && !(connected && sc == deviceScope) {
		return err
	}
	return l.Store.View(ctx, func(r state.Reader) error { return l.addFromStore(r, all, sc) })
}

// addFromStore adds what is shown of few devices, or seldom: how switches answer and,
// of any devices, what the ports are called that they are connected to.
func (l *Lab) addFromStore(r state.Reader, all []DeviceStatus, sc scope) (err error) {
	named := map[ethernet.MAC]map[int]string{}
	for i := range all {
		d := &all[i]
		if d.Kind == Switch {
			if d.Status, err = l.ofSwitch(r, d.MAC); err != nil {
				return err
			}
		}
		if d.Port.IsZero() || sc != deviceScope {
			continue
		}
		if named[d.Port.Switch] == nil {
			if named[d.Port.Switch], err = l.Ports.PortNames(r, d.Port.Switch); err != nil {
				return err
			}
		}
		d.PortName = named[d.Port.Switch][d.Port.Number]
	}
	return nil
}

// statusOf returns devices with what they are doing and where they are connected.
func (l *Lab) statusOf(ctx context.Context, ds []*Device) ([]DeviceStatus, error) {
	all := make([]DeviceStatus, len(ds))
	for i, d := range ds {
		all[i].Device = d
	}
	return all, l.addStatus(ctx, all, nodeScope)
}
