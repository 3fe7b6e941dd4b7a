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

// List is devices that are to be shown, in natural order at first. It holds the records
// that were found and nothing else: what a device is and does is looked up when it is
// its turn, some devices at a time, so that a list of many costs little while its reader
// takes nothing.
type List struct {
	lab   *Lab
	scope scope
	found []*Device
	age   int // of the view that they were found in, or of one before
}

// list returns devices of the view as a List.
func (l *Lab) list(ctx context.Context, sc scope, some func() []*Device) (List, error) {
	all := List{lab: l, scope: sc}
	err := l.view.Read(ctx, func() { all.found, all.age = some(), l.view.age })
	return all, err
}

// Len is how many were found.
func (l List) Len() int { return len(l.found) }

// Found visits the devices as they were when they were found.
func (l List) Found() iter.Seq[*Device] { return slices.Values(l.found) }

// OwnFirst puts the user's nodes first, then the free ones, then those of others.
func (l List) OwnFirst(user auth.Name) List {
	groups, next := make([]uint8, len(l.found)), [4]int{} // of each device, and where the next one of a group goes
	for i, d := range l.found {
		switch {
		case d.Owner() == user:
			groups[i] = 0
		case d.Free():
			groups[i] = 1
		default:
			groups[i] = 2
		}
		next[groups[i]+1]++
	}
	next[2] += next[1]
	ordered := make([]*Device, len(l.found))
	for i, d := range l.found {
		ordered[next[groups[i]]] = d
		next[groups[i]]++
	}
	l.found = ordered
	return l
}

// Where returns those that are wanted.
func (l List) Where(ctx context.Context, wanted func(*DeviceStatus) bool) (List, error) {
	var some []*Device
	for d, err := range l.Each(ctx) {
		if err != nil {
			return l, err
		}
		if wanted(d) {
			some = append(some, d.Device)
		}
	}
	l.found = some
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

// pageSize is how many devices are looked up at once.
const pageSize = 200

// Each visits the devices, each as it is when it is its turn; those that are gone by
// then are left out. What it points to belongs to the List, and is another device
// after that. An error is the last that it visits.
func (l List) Each(ctx context.Context) iter.Seq2[*DeviceStatus, error] {
	return func(yield func(*DeviceStatus, error) bool) {
		page := make([]DeviceStatus, 0, min(len(l.found), pageSize))
		for some := range slices.Chunk(l.found, pageSize) {
			var err error
			if page, err = l.describe(ctx, page[:0], some); err != nil {
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

// describe appends some of the devices as they are now.
func (l List) describe(ctx context.Context, to []DeviceStatus, ds []*Device) ([]DeviceStatus, error) {
	v := l.lab.view
	err := v.Read(ctx, func() {
		for _, d := range ds {
			if v.age != l.age { // looking up many takes longer than showing them
				d = v.named[d.Name]
			}
			if d != nil && l.scope.holds(d) {
				to = append(to, DeviceStatus{Device: d})
			}
		}
	})
	if err != nil {
		return to, err
	}
	return to, l.lab.addStatus(ctx, to, l.scope)
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
