package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/state"
)

// Outlook is what comes of booting an image on a machine that boots from this server.
type Outlook struct {
	Model  images.Model // of the machine
	Why    string       // it cannot boot it, in words for users, as in "it has no kernel"; "" when it can
	Hint   string       // what to do then
	Kernel string       // the version of the kernel
	Lender images.Ref   // the image whose kernel that is; zero when it is its own
}

// Machines tells which images boot on nodes that are machines.
type Machines interface {
	// Known returns what comes of booting an image on a machine, from memory; false when
	// Look has to find it out before. Transactions call it.
	Known(r state.Reader, img images.Image, machine Device) (Outlook, bool, error)
	// Look finds out what Known then knows of machines of a model, which may take a second,
	// or longer when the image was not used for a while. It fails when its content cannot be
	// read.
	Look(context.Context, images.Image, images.Model) error
	// Firmware returns what network drivers of an image that boots machines of a model name
	// and do not find, ordered by driver. It reads these drivers: that may take seconds.
	Firmware(context.Context, images.Image, images.Model) ([]Firmware, error)
}

// Firmware is a file that a driver names, and that its image does not have.
type Firmware struct {
	Driver string // a module of the kernel
	File   string // below /lib/firmware
	Large  bool   // it is there, but is too large for what a machine starts with, or damaged
}

// lookLimit is for how long Outlooks looks at images that nobody looked at before.
const lookLimit = time.Second

// isMachine reports whether a device boots from this server: it can boot some images only.
func (l *Lab) isMachine(d *Device) bool {
	return l.Machines != nil && d.Kind == Node && (d.Host == QEMU || l.Boards && d.Host == Physical)
}

// usual is a machine of the same kind with usual settings.
func (d Device) usual() Device { return Device{Name: d.Name, Kind: Node, Host: d.Host, Model: d.Model} }

// Outlooks returns what comes of booting images on a machine with usual settings, by
// their names: of those for models that machines here are of, and that could be looked
// at in a moment; of one for several of these, on the first that it cannot boot. ok is
// false when no machine is here.
func (l *Lab) Outlooks(ctx context.Context, all []images.Image) (found map[images.Ref]Outlook, ok bool, err error) {
	if l.Machines == nil {
		return nil, false, nil
	}
	kinds, err := read(ctx, l.view, l.kinds)
	if err != nil || len(kinds) == 0 {
		return nil, false, err
	}
	found = map[images.Ref]Outlook{}
	unseen, err := l.known(ctx, all, kinds, found)
	if err != nil || len(unseen) == 0 {
		return found, true, err
	}
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var again []images.Image
	for _, u := range unseen {
		err := l.Machines.Look(limited, u.image, u.model)
		if limited.Err() != nil {
			break
		}
		if f := fault.As(err); f != nil {
			found[u.image.Ref] = Outlook{Model: u.model, Why: f.Msg, Hint: f.Hint}
		} else if err != nil { // of one image: the others can be told of
			l.Log.Error("look what an image boots", "image", u.image.Ref, "err", err)
			found[u.image.Ref] = Outlook{Model: u.model, Why: "the server failed to look at it"}
		} else if !slices.ContainsFunc(again, func(img images.Image) bool { return img.Ref == u.image.Ref }) {
			again = append(again, u.image)
		}
	}
	_, err = l.known(ctx, again, kinds, found)
	return found, true, err
}

// kinds are machines, of each model and host one. The caller holds the view's lock.
func (l *Lab) kinds() (all []Device) {
	type kind struct {
		model images.Model
		host  HostKind
	}
	seen := map[kind]bool{}
	for _, d := range l.view.which(l.isMachine) {
		if k := (kind{d.Model, d.Host}); !seen[k] {
			seen[k] = true
			all = append(all, Device{Kind: Node, Host: d.Host, Model: d.Model})
		}
	}
	slices.SortFunc(all, func(a, b Device) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Host, b.Host))
	})
	return all
}

// known puts into found what is known of images on these machines, and returns those of
// which something is not.
func (l *Lab) known(ctx context.Context, all []images.Image, kinds []Device, found map[images.Ref]Outlook) (unknown []*unseen, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		unknown = nil
		for _, img := range all {
			var first *Outlook
			before := len(unknown)
			for _, d := range kinds {
				if !slices.Contains(img.Models, d.Model) {
					continue
				}
				o, known, err := l.Machines.Known(r, img, d)
				if err != nil {
					return err
				}
				o.Model = d.Model
				switch {
				case !known:
					unknown = append(unknown, &unseen{img, d.Model})
				case first == nil || first.Why == "" && o.Why != "":
					first = &o
				}
			}
			if first != nil && (first.Why != "" || len(unknown) == before) {
				found[img.Ref] = *first
			}
		}
		return nil
	})
	return unknown, err
}

// Firmware returns what network drivers of an image that boots machines of a model do not
// find.
func (l *Lab) Firmware(ctx context.Context, img images.Image, model images.Model) ([]Firmware, error) {
	return l.Machines.Firmware(ctx, img, model)
}

// unseen says that a transaction came to an image that has to be looked at first.
type unseen struct {
	image images.Image
	model images.Model
}

func (u *unseen) Error() string { return fmt.Sprintf("nodes: %s was not looked at", u.image.Ref) }

// update is Store.Update of work that may come to an unseen image: that is looked at
// then, and the work is done anew.
func (l *Lab) update(ctx context.Context, work func(state.Tx) error) error {
	for {
		_, err := l.Store.Update(ctx, work)
		u, is := errors.AsType[*unseen](err)
		if !is {
			return err
		}
		if err := l.Machines.Look(ctx, u.image, u.model); err != nil {
			return err
		}
	}
}

// unfit returns those of the devices that are machines and cannot boot an image, and
// what comes of it on the first of them.
func (l *Lab) unfit(r state.Reader, ds []Device, img images.Image) (machines []string, first Outlook, err error) {
	for _, d := range ds {
		if !l.isMachine(&d) {
			continue
		}
		o, known, err := l.Machines.Known(r, img, d)
		if err == nil && !known {
			err = &unseen{img, d.Model}
		}
		if err != nil {
			return nil, first, err
		}
		if o.Why != "" {
			if machines = append(machines, string(d.Name)); len(machines) == 1 {
				first = o
			}
		}
	}
	return machines, first, nil
}

// boots checks that those of the devices that are machines can boot an image. One
// that does so is left alone.
func (c *change) boots(ds []Device, img images.Image) error {
	others := slices.DeleteFunc(slices.Clone(ds), func(d Device) bool { return d.Image == img.Ref && !d.Free() })
	machines, first, err := c.lab.unfit(c.tx, others, img)
	if err != nil || len(machines) == 0 {
		return err
	}
	return fault.Failedf("%s cannot boot %s: %s; nothing changed", img.Ref.Short(), fault.Few(machines), first.Why).
		WithHint("%s", cmp.Or(c.instead, first.Hint))
}

// stillBoots checks that a device which is a machine can boot its image with other
// settings, if it can with those that it has.
func (l *Lab) stillBoots(r state.Reader, before, after Device) error {
	if !l.isMachine(&before) || before.Settings() == after.Settings() {
		return nil
	}
	img, err := images.Get(r, before.Image)
	if err != nil {
		return err
	}
	bad, _, err := l.unfit(r, []Device{before}, img)
	if err != nil || len(bad) > 0 {
		return err
	}
	bad, o, err := l.unfit(r, []Device{after}, img)
	if err != nil || len(bad) == 0 {
		return err
	}
	return fault.Failedf("%s could not boot %s any more: %s; nothing changed", after.Name, img.Ref.Short(), o.Why).WithHint("%s", o.Hint)
}

// able checks that those of the devices that are machines can boot what take has them
// boot: the clone of the default image that the user has, or will have.
func (c *change) able(ds []Device, user auth.Name) error {
	machines := map[images.Model][]Device{}
	for _, d := range ds {
		if c.lab.isMachine(&d) {
			machines[d.Model] = append(machines[d.Model], d)
		}
	}
	for model, ds := range machines {
		img, here, err := images.Find(c.tx, images.DefaultRef(model))
		if err != nil {
			return err
		}
		if !here {
			continue // which is another fault
		}
		clone, here, err := images.Find(c.tx, img.CloneRef(user))
		if here {
			img = clone
		}
		if err == nil {
			err = c.boots(ds, img)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CanBoot is a fault when there are machines among the nodes that boot an image, and
// these cannot boot the content that is to have its name.
func (i imageChange) CanBoot(ref images.Ref, img images.Image) error {
	if ref.User == auth.Nobody {
		return i.canBeDefault(ref, img)
	}
	ds, err := booting(i, ref)
	if err != nil {
		return err
	}
	machines, first, err := i.change.lab.unfit(i, ds, img)
	if err != nil {
		return err
	}
	if len(machines) == 0 {
		return i.canLend(ref, img)
	}
	return fault.Failedf("%s is booted by %s, and the new content cannot boot it: %s; nothing changed", ref.Short(), fault.Few(machines), first.Why).
		WithHint("clone it under another name, or: %s", first.Hint)
}

// canBeDefault is CanBoot of a default image: all machines of its model boot that when
// they are free. What they could not for their own settings is no concern of others.
func (i imageChange) canBeDefault(ref images.Ref, img images.Image) error {
	all, err := everything(i)
	if err != nil {
		return err
	}
	var usual []Device
	for _, d := range inOrder(all) {
		if d.Kind == Node && images.DefaultRef(d.Model) == ref {
			usual = append(usual, d.usual())
		}
	}
	machines, first, err := i.change.lab.unfit(i, usual, img)
	if err != nil {
		return err
	}
	if len(machines) == 0 {
		return i.canLend(ref, img)
	}
	return fault.Failedf("%s could not boot that version of %s: %s; nothing changed", fault.Few(machines), ref.Short(), first.Why).
		WithHint("%s", first.Hint)
}
