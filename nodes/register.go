package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Announcement is what a device tells of itself, or a user of it.
type Announcement struct {
	Name  Name
	MAC   ethernet.MAC
	Model images.Model // "" when it has not told
	Host  HostKind
	Arch  Arch // of its firmware; "" when that has not told
	// Stranger says that nobody told of it but itself.
	Stranger bool
}

// tells reports whether a device is known as it is announced.
func (a Announcement) tells(d Device) bool {
	return d.Name == a.Name && d.MAC == a.MAC && d.Host == a.Host && (a.Model == "" || a.Model == d.Model)
}

// Register adds a device, or the model of one that is known without. If the
// default image of its model is here it is a free node at once; else that image
// is downloaded in the background, and the device becomes a free node when it
// arrives. One that is known as it is announced stays as it is.
func (l *Lab) Register(ctx context.Context, actor journal.Actor, a Announcement) (Device, error) {
	var d Device
	var same bool
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		d, same, err = devices.Find(tx, string(a.Name))
		if same = same && a.tells(d); err != nil {
			return err
		}
		if same {
			return welcome(tx, &d, a)
		}
		d, err = l.add(tx, actor, a)
		return err
	})
	if err != nil || same {
		return d, err
	}
	l.startEnrolled(d)
	return d, nil
}

// welcome has a device that came by itself be one of the lab's, when somebody else tells
// of it.
func welcome(tx state.Tx, d *Device, a Announcement) error {
	if !d.Stranger || a.Stranger {
		return nil
	}
	d.Stranger = false
	return devices.Put(tx, string(d.Name), *d)
}

// add writes a device that was announced, and is not known as it is.
func (l *Lab) add(tx state.Tx, actor journal.Actor, a Announcement) (Device, error) {
	d, err := l.admit(tx, actor, a)
	if err != nil {
		return d, err
	}
	if d.Model != "" {
		img, here, err := images.Find(tx, images.DefaultRef(d.Model))
		if here {
			l.enroll(&d, img)
		} else if err == nil {
			err = l.Images.Want(tx, d.Model)
		}
		if err != nil {
			return d, err
		}
	}
	return d, errors.Join(put(tx, d), l.Journal.Record(tx, registration(actor, d, "")))
}

// admit checks that an announced device is new, or is the one that is known
// under its name and address and lacked only its model.
func (l *Lab) admit(tx state.Tx, actor journal.Actor, a Announcement) (Device, error) {
	fresh := Device{Name: a.Name, MAC: a.MAC, Kind: Unknown, Model: a.Model, Host: a.Host, Stranger: a.Stranger}
	fresh.mark(func(m *Marks) { m.Arch = a.Arch })
	holder, _, err := macs.Find(tx, string(a.MAC))
	if err != nil {
		return fresh, err
	}
	known, found, err := devices.Find(tx, string(a.Name))
	switch {
	case err != nil:
		return fresh, err
	case holder != "" && holder != a.Name:
		return fresh, fault.Failedf("%s is the MAC address of %s already", a.MAC, holder).
			WithHint("to give that device another name: device rename %s %s", holder, a.Name)
	case !found:
		return fresh, nil
	case known.MAC == a.MAC && known.Kind == Unknown && known.Model == "" && a.Model != "":
		known.Model, known.Stranger = a.Model, known.Stranger && a.Stranger
		return known, nil
	}
	taken := fault.Failedf("there is a device %s already (%s)", a.Name, known.MAC)
	switch {
	case known.contested(auth.UserOf(actor)):
		return fresh, taken.WithHint("choose another name")
	case known.Virtual():
		return fresh, taken.WithHint("choose another name, or remove that one first: node remove %s", a.Name)
	}
	return fresh, taken.WithHint("choose another name, or forget that one first: device forget %s", a.Name)
}

// enroll makes a device a free node.
func (l *Lab) enroll(d *Device, def images.Image) {
	d.Kind, d.Image, d.Since = Node, def.Ref, l.Now().UTC()
}

// startEnrolled follows the commit that made a device a node. One that is not
// virtual starts by itself, or somebody switches it on.
func (l *Lab) startEnrolled(d Device) {
	if d.Kind == Node && d.Virtual() {
		l.start(d, 0, cause{})
	}
}

// registration is the event that a device came or changed what it is.
func registration(actor journal.Actor, d Device, detail string) journal.Event {
	if detail == "" {
		what := strings.TrimSpace(fmt.Sprint(d.Kind, " ", d.Model))
		detail = fmt.Sprintf("%s, %s", what, d.MAC)
	}
	return journal.Event{Type: journal.Registration, Actor: actor, Node: string(d.Name), To: string(d.Kind), Detail: detail}
}

// Forget removes the devices of the set that are not virtual nodes, contested
// ones with consent.
func (l *Lab) Forget(ctx context.Context, user auth.Name, set Set, given consent.Agreement) ([]Device, error) {
	return l.drop(ctx, user, l.devicesOf(ctx, set, user), given, false)
}

// ForgetUnknown removes the devices whose model nobody knows, and those that came by
// themselves and have booted nothing; there may be none.
func (l *Lab) ForgetUnknown(ctx context.Context, user auth.Name, given consent.Agreement) ([]Device, error) {
	return l.drop(ctx, user, func(r state.Reader) ([]Device, error) {
		all, err := everything(r)
		return inOrder(slices.DeleteFunc(all, func(d Device) bool { return !d.strange() })), err
	}, given, false)
}

// devicesOf returns what finds those of a set, as a user names them.
func (l *Lab) devicesOf(ctx context.Context, s Set, user auth.Name) func(state.Reader) ([]Device, error) {
	return func(r state.Reader) ([]Device, error) { return s.expand(l.stored(ctx, r), user, deviceScope) }
}

// Remove removes the virtual nodes of the set, contested ones with consent.
func (l *Lab) Remove(ctx context.Context, user auth.Name, set Set, given consent.Agreement) ([]Device, error) {
	return l.drop(ctx, user, l.devicesOf(ctx, set, user), given, true)
}

func (l *Lab) drop(ctx context.Context, user auth.Name, which func(state.Reader) ([]Device, error), given consent.Agreement, virtual bool) ([]Device, error) {
	var gone []Device
	var fit fitting
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		ds, err := which(tx)
		if err != nil {
			return err
		}
		for _, d := range ds {
			switch {
			case d.Virtual() && !virtual:
				return fault.Failedf("%s is a virtual node; nothing changed", d.Name).WithHint("remove it with: node remove %s", d.Name)
			case !d.Virtual() && virtual:
				return fault.Failedf("%s is not a virtual node; nothing changed", d.Name).WithHint("forget it with: device forget %s", d.Name)
			}
		}
		disturbed, err := claimsOn(tx, l.Ports, ds, user)
		if err != nil {
			return err
		}
		if err := given.Check(disturbed); err != nil {
			return err
		}
		gone = ds
		var told journal.Bundle
		fit = 0
		for _, d := range ds {
			if err := l.tellCarried(tx, &told, user, d, fmt.Sprintf("%s removed %s, the switch of", user, d.Name)); err != nil {
				return err
			}
			e := registration(user.Actor(), d, "removed")
			e.From, e.To = string(d.Kind), ""
			told.Record(e)
			tell(&told, user, d, journal.Notice{One: string(user) + " removed your node %s", Several: string(user) + " removed %s"})
			if err := errors.Join(remove(tx, d), addresses.Delete(tx, string(d.MAC)), upSince.Delete(tx, string(d.MAC)), verdicts.Delete(tx, string(d.MAC)), l.Ports.Forget(tx, d.MAC), l.forgo(tx, d)); err != nil {
				return err
			}
			fit.add(tx, &told)
		}
		return errors.Join(l.Journal.Write(tx, told), abandon(tx, ds))
	})
	if err != nil {
		return nil, l.tooMany(err, fit, "")
	}
	for _, d := range gone {
		l.unplug(d, fault.Failedf("%s was removed", d.Name))
		l.forgetLine(d)
		if !d.Virtual() && l.Agents != nil {
			l.Agents.Gone(d.MAC)
		}
	}
	return gone, nil
}

// forgo drops within tx what is kept of the boots of a device that is removed. Of a machine
// that runs on the server its host does that, when it has ended.
func (l *Lab) forgo(tx state.Tx, d Device) error {
	if d.Host == QEMU || l.Agents == nil {
		return nil
	}
	return l.Agents.Forgo(tx, d.MAC)
}

// tell has the owner of a node that somebody else disturbed told of it.
func tell(told *journal.Bundle, user auth.Name, d Device, n journal.Notice) {
	if d.contested(user) {
		told.Tell(string(d.Owner()), string(d.Name), n)
	}
}

// tellCarried has the owners of nodes on the ports of a switch told what somebody
// else did; the nodes are put behind it.
func (l *Lab) tellCarried(tx state.Tx, told *journal.Bundle, user auth.Name, sw Device, what string) error {
	there, err := carried(tx, l.Ports, sw)
	if err != nil {
		return err
	}
	for _, d := range there {
		tell(told, user, d, journal.Notice{One: what + " your node %s", Several: what + " %s"})
	}
	return nil
}

// unplug ends what runs on a device whose name is gone; why tells who is there.
func (l *Lab) unplug(d Device, why error) {
	l.visitors.Evict(string(d.Name), "", why)
	if d.Virtual() {
		l.Hosts[d.Host].Stop(d.Name)
	}
	l.status.forget(d.Name)
}

// Rename gives a device another name, that of another user's node with consent.
// A virtual node starts anew under it.
func (l *Lab) Rename(ctx context.Context, user auth.Name, old, name Name, given consent.Agreement) (Device, error) {
	var before, after Device
	_, err := l.Store.Update(ctx, func(tx state.Tx) (err error) {
		if before, err = get(tx, old); err != nil {
			return err
		}
		_, taken, err := devices.Find(tx, string(name))
		if err != nil {
			return err
		}
		if taken {
			return fault.Failedf("there is a device %s already", name).WithHint("choose another name")
		}
		disturbed, err := claimsOn(tx, l.Ports, []Device{before}, user)
		if err != nil {
			return err
		}
		if err := given.Check(disturbed); err != nil {
			return err
		}
		after = before
		after.Name, after.Stranger = name, false
		var told journal.Bundle
		told.Record(journal.Event{Type: journal.Registration, Actor: user.Actor(), Node: string(name), From: string(old), To: string(name), Detail: "renamed"})
		tell(&told, user, before, journal.Notice{One: string(user) + " renamed your node %s: it is called " + string(name) + " now"})
		err = l.tellCarried(tx, &told, user, before, fmt.Sprintf("%s renamed %s to %s, the switch of", user, old, name))
		return errors.Join(err, remove(tx, before), put(tx, after), renameInWishes(tx, old, name), l.Journal.Write(tx, told))
	})
	if err != nil {
		return after, err
	}
	s, up := l.status.of(old), l.status.isUp(old)
	l.unplug(before, fault.Failedf("%s is called %s now", old, name))
	l.status.keepUp(name, up)
	switch {
	case after.Kind != Node:
	case after.Virtual():
		off, err := state.Read(ctx, l.Store, func(r state.Reader) (bool, error) { return l.Ports.IsOff(r, after.MAC) })
		if err != nil || off {
			return after, err
		}
		l.start(after, 0, cause{user.Actor(), "renamed"})
	default:
		if l.Agents != nil {
			l.Agents.Renamed(after.MAC, name)
		}
		l.status.change(name, func(now *Status) { *now = s })
	}
	return after, nil
}

// abandon drops within tx the downloads that only devices waited for which are removed, or
// wait no more.
func abandon(tx state.Tx, removed []Device) error {
	for _, d := range removed {
		model := d.waitsFor()
		if model == "" {
			continue
		}
		ds, err := waitingFor(tx, model)
		if err != nil {
			return err
		}
		if len(ds) > 0 {
			continue
		}
		if err := images.Unwant(tx, model); err != nil {
			return err
		}
	}
	return nil
}
