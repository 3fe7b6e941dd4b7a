package nodes

import (
	"context"
	"fmt"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/power"
	"walt/state"
)

// Borrowers returns the machines that could not boot their images again without the
// kernel that another one lends these.
func (l *Lab) Borrowers(ctx context.Context, lender images.Ref) (all []consent.Claim, err error) {
	ds, err := l.machines(ctx)
	if err != nil || len(ds) == 0 {
		return nil, err
	}
	var booted []images.Image
	err = l.Store.View(ctx, func(r state.Reader) error {
		booted = nil
		seen := map[images.Ref]bool{}
		for _, d := range ds {
			img, here, err := images.Find(r, d.Image)
			if err != nil {
				return err
			}
			if here && !seen[d.Image] {
				booted, seen[d.Image] = append(booted, img), true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found, _, err := l.Outlooks(ctx, booted)
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		if o := found[d.Image]; o.Lender == lender && o.Why == "" {
			c := d.claim()
			c.Of, c.Uses = lender.Short(), fmt.Sprintf("boots %s with the kernel of %s", d.Image, lender.Short())
			all = append(all, c)
		}
	}
	return all, nil
}

// machines returns the nodes that are machines of this server, in natural order.
func (l *Lab) machines(ctx context.Context) ([]Device, error) {
	if l.Machines == nil {
		return nil, nil
	}
	return read(ctx, l.view, func() (all []Device) {
		for _, d := range l.view.which(func(d *Device) bool { return d.Kind == Node && d.Host == QEMU }) {
			all = append(all, *d)
		}
		return inOrder(all)
	})
}

// canLend checks that an image which lends its kernel to some that machines boot which
// are on still does so with other content. Images that were not looked at since the
// server started are left out: what they lack is said when they boot.
func (i imageChange) canLend(ref images.Ref, img images.Image) error {
	l := i.change.lab
	if l.Machines == nil {
		return nil
	}
	on, err := power.Machines(i)
	if err != nil {
		return err
	}
	for _, mac := range on {
		d, err := withMAC(i, mac)
		if err != nil {
			return err
		}
		booted, here, err := images.Find(i, d.Image)
		if err != nil {
			return err
		}
		if !here {
			continue
		}
		o, _, err := l.Machines.Known(i, booted, Device{})
		if err != nil {
			return err
		}
		if o.Lender != ref || o.Why != "" {
			continue
		}
		bad, o, err := l.unfit(i, []Device{{Name: d.Name, Host: d.Host}}, img)
		if err != nil || len(bad) == 0 {
			return err
		}
		return fault.Failedf("%s lends its kernel to %s, which %s boots, and the new content has none that serves: %s; nothing changed", ref.Short(), d.Image, d.Name, o.Why).
			WithHint("clone it under another name, or: %s", o.Hint)
	}
	return nil
}
