package nodes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"walt/fault"
	"walt/images"
	"walt/power"
	"walt/state"
)

// Missing is a node that is waited for and not up yet.
type Missing struct {
	Name   Name
	State  State
	Cycles int // how often its power was cut since it did not come up
}

// Wait returns when every node of the set is up on the image that it should
// boot, calling progress with those that are not yet whenever that changed, which it
// does not keep. One that gets another name is still waited for; one that is removed is
// a fault. When ctx ends first it returns the nodes that were not up, with ctx's error. One
// that cannot boot that image, stopped on purpose, or is off until a user wants it on ends
// it at once with a fault: what was in its way seldom goes by itself, and until the next
// try is a long time.
func (l *Lab) Wait(ctx context.Context, set []*Device, progress func(missing []Missing)) ([]Missing, error) {
	var shown []Missing
	for {
		changed := l.status.next()
		found, err := l.look(ctx, set)
		if err != nil || len(found.missing) == 0 {
			return found.missing, err
		}
		if len(found.stopped) > 0 {
			return found.missing, hasStopped(found.stopped)
		}
		if len(found.failed) > 0 {
			return found.missing, cannotBoot(found.failed)
		}
		if !slices.Equal(found.missing, shown) {
			progress(found.missing)
			shown = found.missing
		}
		select {
		case <-ctx.Done():
			return found.missing, ctx.Err()
		case <-changed:
		}
	}
}

// look is one look at nodes that are waited for. What a node is doing is always looked up
// before what it is: it tells that it is up after its record says what it booted.
type look struct {
	lab     *Lab
	missing []Missing      // the nodes that are not up on their image, in natural order
	stopped []DeviceStatus // those of them that stopped on purpose
	failed  []DeviceStatus // and that failed to boot it
}

// look finds out which of the nodes are up. They may be very many, and it is done again
// at every change: what they are comes from memory. A change of images may be in the view
// and not yet in what was read of them, or the other way round: where that could make the
// difference, both are read in one transaction.
func (l *Lab) look(ctx context.Context, set []*Device) (look, error) {
	found := look{lab: l}
	over := context.WithoutCancel(ctx) // who waited long enough is told what is missing
	var doubtful []*Device
	known := map[images.Ref]images.Image{}
	for some := range slices.Chunk(set, pageSize) {
		if err := ctx.Err(); errors.Is(err, context.Canceled) { // nobody wants to know
			return found, err
		}
		doing := l.status.each(some)
		ds, err := l.present(over, some)
		if err != nil {
			return found, err
		}
		offs, err := l.offs(over, ds)
		if err != nil {
			return found, err
		}
		for i, d := range ds {
			if d == nil {
				doubtful = append(doubtful, some[i])
				continue
			}
			img, is := known[d.Image]
			if !is {
				if img, err = l.image(over, d.Image); err != nil {
					return found, err
				}
				known[d.Image] = img
			}
			switch s := doing[i]; {
			case s.isOn(*d, img):
			case s.State == Up, s.gaveUp() && s.took != "" && s.took != img.Digest:
				doubtful = append(doubtful, d)
			default:
				if err := found.miss(d, s, img, offs[i]); err != nil {
					return found, err
				}
			}
		}
	}
	if len(doubtful) == 0 {
		return found, nil
	}
	err := found.lookInStore(over, doubtful)
	slices.SortFunc(found.missing, func(a, b Missing) int { return a.Name.Compare(b.Name) })
	return found, err
}

// lookInStore looks at nodes whatever they are called by now.
func (f *look) lookInStore(ctx context.Context, set []*Device) error {
	for len(set) > 0 {
		var renamed []*Device
		doing := f.lab.status.each(set)
		err := f.lab.Store.View(ctx, func(r state.Reader) error {
			for i, n := range set {
				d, err := still(r, n)
				if err != nil {
					return err
				}
				if d.Name != n.Name { // what that is doing is not looked up yet
					renamed = append(renamed, &d)
					continue
				}
				img, _, err := images.Find(r, d.Image)
				if err != nil {
					return err
				}
				why, off, err := f.lab.Ports.Off(r, d.MAC)
				if err != nil {
					return err
				}
				if doing[i].isOn(d, img) {
					continue
				}
				var o *power.Off
				if off {
					o = &why
				}
				if err := f.miss(&d, doing[i], img, o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		set = renamed
	}
	return nil
}

// miss notes that a node is not up. One that is off until a user wants it on is a fault.
func (f *look) miss(d *Device, s Status, img images.Image, off *power.Off) error {
	switch {
	case off != nil && off.By != "":
		return isOff(d.Name, offWords(*off))
	case off == nil && s.isOffByHand(d):
		return isOff(d.Name, s.Why)
	}
	f.missing = append(f.missing, Missing{d.Name, s.State, s.tries})
	switch {
	case s.State == Booting && s.Stopped():
		f.stopped = append(f.stopped, DeviceStatus{Device: d, Status: s})
	case s.gaveUp() && (s.took == "" || s.took == img.Digest): // else it is about to start on another one
		f.failed = append(f.failed, DeviceStatus{Device: d, Status: s})
	}
	return nil
}

// image reads an image; the zero one if there is none.
func (l *Lab) image(ctx context.Context, ref images.Ref) (images.Image, error) {
	return state.Read(ctx, l.Store, func(r state.Reader) (images.Image, error) {
		img, _, err := images.Find(r, ref)
		return img, err
	})
}

// isOn reports whether a node is up on an image: under that name it took what runs there.
func (s Status) isOn(d Device, img images.Image) bool {
	return s.State == Up && d.Booted == img.Ref && s.runs == img.Digest
}

// gaveUp reports whether a node failed to boot.
func (s Status) gaveUp() bool { return s.State == Unreachable && (s.Failed || s.spent) }

// present returns what devices that were looked at before are now, as the view has them;
// nil for one that is not there under its name.
func (l *Lab) present(ctx context.Context, some []*Device) ([]*Device, error) {
	ds := make([]*Device, len(some))
	err := l.view.Read(ctx, func() {
		for i, n := range some {
			if d := l.view.named[n.Name]; d != nil && d.MAC == n.MAC {
				ds[i] = d
			}
		}
	})
	return ds, err
}

// offs returns why devices are off, nil for those that are not, and for nil.
func (l *Lab) offs(ctx context.Context, ds []*Device) ([]*power.Off, error) {
	offs := make([]*power.Off, len(ds))
	err := l.Ports.Wiring(ctx, func(w power.Wiring) {
		if w.Quiet() {
			return
		}
		for i, d := range ds {
			if d == nil {
				continue
			}
			if why, off := w.Off(d.MAC); off {
				offs[i] = &why
			}
		}
	})
	return offs, err
}

// still returns a device that was looked at before, whatever it is called by now,
// or a fault that says that it is gone, also when another one got its name.
func still(r state.Reader, n *Device) (Device, error) {
	name, known, err := macs.Find(r, string(n.MAC))
	if err == nil && !known {
		err = fault.Failedf("%s was removed meanwhile", n.Name).WithHint("see all devices with: device show")
	}
	if err != nil {
		return Device{}, err
	}
	return get(r, name)
}

// cannotBoot is the fault for nodes that failed to boot.
func cannotBoot(failed []DeviceStatus) error {
	var what, names []string
	for _, r := range reasonsOf(failed, Unreachable) {
		what = append(what, fault.Few(r.Nodes)+" cannot boot: "+r.Why)
		names = append(names, r.Nodes...)
	}
	hint := "when that is mended, start again with: node reboot " + strings.Join(names, ",")
	if slices.ContainsFunc(failed, func(d DeviceStatus) bool { return !d.Virtual() }) {
		hint += "\nor, where the server has no means to do so, switch off and on by hand"
	}
	return fault.Failedf("%s", strings.Join(what, "; ")).WithHint("%s", hint)
}

// UpInTime returns the present state of nodes when the late ones among them are
// up, calling progress as Wait does. One that does not come up within its
// boot.timeout is a fault.
func (l *Lab) UpInTime(ctx context.Context, nodes, late []*Device, progress func(missing []Missing)) ([]DeviceStatus, error) {
	var longest time.Duration
	for _, n := range late {
		longest = max(longest, n.Settings().bootTimeout())
	}
	waiting, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	missing, err := l.Wait(waiting, late, progress)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fault.Failedf("%s was not up after %v", missing[0].Name, longest).
			WithHint("see what it is doing with: node show --all")
	case err != nil:
		return nil, err
	}
	return l.Again(ctx, nodes)
}

// Again returns the present state of nodes that were looked at before, whatever
// they are called by now. One that was removed is a fault.
func (l *Lab) Again(ctx context.Context, nodes []*Device) (now []DeviceStatus, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		ds, err := l.present(ctx, nodes)
		if err != nil {
			return err
		}
		for i, d := range ds {
			if d != nil {
				continue
			}
			renamed, err := still(r, nodes[i])
			if err != nil {
				return err
			}
			ds[i] = &renamed
		}
		now, err = l.statusOf(ctx, ds)
		return err
	})
	return now, err
}
