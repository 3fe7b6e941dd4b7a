package nodes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/power"
	"walt/state"
)

// Wait returns when every node of the set is up on the image that it should
// boot, calling progress with those that are not yet whenever that changed. One
// that gets another name is still waited for; one that is removed is a fault.
// When ctx ends first it returns the nodes that were not up, with ctx's error. One
// that cannot boot that image, stopped on purpose, or is off until a user wants it on ends
// it at once with a fault: what was in its way seldom goes by itself, and until the next
// try is a long time.
func (l *Lab) Wait(ctx context.Context, set []DeviceStatus, progress func(missing []DeviceStatus)) ([]DeviceStatus, error) {
	same := func(a, b DeviceStatus) bool { return a.Name == b.Name && a.State == b.State }
	var shown []DeviceStatus
	for {
		changed := l.status.next()
		missing, failed, err := l.missing(ctx, set)
		if err != nil || len(missing) == 0 {
			return missing, err
		}
		if stopped := slices.DeleteFunc(slices.Clone(missing), func(n DeviceStatus) bool { return n.State != Booting || !n.Stopped() }); len(stopped) > 0 {
			return missing, hasStopped(stopped)
		}
		if len(failed) > 0 {
			return missing, cannotBoot(failed)
		}
		if !slices.EqualFunc(missing, shown, same) {
			progress(missing)
			shown = missing
		}
		select {
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-changed:
		}
	}
}

// missing returns those of the nodes that are not up on their image, and which of
// these failed to boot it.
func (l *Lab) missing(ctx context.Context, set []DeviceStatus) (missing, failed []DeviceStatus, err error) {
	err = l.Store.View(context.WithoutCancel(ctx), func(r state.Reader) error {
		missing, failed = nil, nil
		found := map[images.Ref]images.Image{}
		for _, n := range set {
			if err := ctx.Err(); errors.Is(err, context.Canceled) { // nobody wants to know
				return err
			}
			d, err := still(r, n)
			if err != nil {
				return err
			}
			img, known := found[d.Image]
			if !known {
				if img, _, err = images.Find(r, d.Image); err != nil {
					return err
				}
				found[d.Image] = img
			}
			s := l.status.of(d.Name)
			if s.isOn(d, img) {
				continue
			}
			switch why, off, err := l.Ports.Off(r, d.MAC); {
			case err != nil:
				return err
			case off && why.By != "":
				return isOff(d.Name, offWords(why))
			case !off && s.isOffByHand(&d):
				return isOff(d.Name, s.Why)
			}
			missing = append(missing, DeviceStatus{Device: &d, Status: s})
			if s.State == Unreachable && (s.Failed || s.spent) && (s.took == "" || s.took == img.Digest) { // else it is about to start on another one
				failed = append(failed, missing[len(missing)-1])
			}
		}
		return nil
	})
	return missing, failed, err
}

// isOn reports whether a node is up on an image: under that name it took what runs there.
func (s Status) isOn(d Device, img images.Image) bool {
	return s.State == Up && d.Booted == img.Ref && s.runs == img.Digest
}

// still returns a device that was looked at before, whatever it is called by now,
// or a fault that says that it is gone, also when another one got its name.
func still(r state.Reader, n DeviceStatus) (Device, error) {
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
	return fault.Failedf("%s", strings.Join(what, "; ")).
		WithHint("when that is mended, start again with: node reboot %s", strings.Join(names, ","))
}

// Wake gives those of the nodes that are off to save power their power back, and
// notes that all of them are used now. It returns the ones that it woke.
func (l *Lab) Wake(ctx context.Context, nodes []DeviceStatus) (woke []DeviceStatus, err error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	var woken map[Name]power.Port
	var ds []Device
	var fit fitting
	_, err = l.Store.Update(ctx, func(tx state.Tx) (err error) {
		ds = nil
		for _, n := range nodes {
			d, err := get(tx, n.Name)
			if err != nil {
				return err
			}
			ds = append(ds, d)
		}
		woken, fit, err = l.need(tx, ds, l.Ports.Wake)
		return err
	})
	if err != nil {
		return nil, l.tooMany(err, fit, "")
	}
	var asleep []Device
	for i, n := range nodes {
		if !woken[n.Name].IsZero() {
			asleep, woke = append(asleep, ds[i]), append(woke, n)
		}
	}
	var failed error
	err = atOnce(ctx, &l.works, asleep, slow, func(ctx context.Context, d Device) Reboot {
		return l.restart(ctx, d, woken[d.Name], false, cause{})
	}, func(d Device, r Reboot) {
		if r.Outcome != RebootOK {
			failed = errors.Join(failed, fault.Failedf("%s could not be woken: %s", d.Name, r))
		}
	})
	return woke, errors.Join(err, failed)
}

// need notes within tx that nodes are used now, and orders the power of those
// that may be off. It returns the ports of these, and how many of the nodes fit tx.
func (l *Lab) need(tx state.Tx, ds []Device, order func(state.Tx, ethernet.MAC) (power.Port, error)) (woken map[Name]power.Port, fit fitting, err error) {
	woken = map[Name]power.Port{}
	for _, d := range ds {
		if err := l.Ports.NoteUse(tx, d.MAC); err != nil {
			return nil, fit, err
		}
		if woken[d.Name], err = order(tx, d.MAC); err != nil {
			return nil, fit, err
		}
		fit.add(tx, &journal.Bundle{})
	}
	return woken, fit, nil
}

// UpInTime returns the present state of nodes when the late ones among them are
// up, calling progress as Wait does. One that does not come up within its
// boot.timeout is a fault.
func (l *Lab) UpInTime(ctx context.Context, nodes, late []DeviceStatus, progress func(missing []DeviceStatus)) ([]DeviceStatus, error) {
	var longest time.Duration
	for _, n := range late {
		longest = max(longest, n.Settings.bootTimeout())
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
func (l *Lab) Again(ctx context.Context, nodes []DeviceStatus) (now []DeviceStatus, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		var ds []Device
		for _, n := range nodes {
			d, err := still(r, n)
			if err != nil {
				return err
			}
			ds = append(ds, d)
		}
		now, err = l.statusOf(ctx, pointers(ds))
		return err
	})
	return now, err
}
