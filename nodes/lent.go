package nodes

import (
	"context"
	"fmt"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/power"
	"walt/state"
)

// Borrowers returns the machines that could not boot their images again without the
// kernel that another one lends these.
func (l *Lab) Borrowers(ctx context.Context, lender images.Ref) (all []consent.Claim, err error) {
	found, err := l.borrowers(ctx, func(ref images.Ref) bool { return ref == lender })
	for _, b := range found {
		all = append(all, b.claim(lender.Short(), lender.Short()))
	}
	return all, err
}

// borrower is a machine that boots its image with the kernel of another one.
type borrower struct {
	Device
	lender images.Ref
}

// claim is that it needs that kernel, of what a request takes away.
func (b borrower) claim(of, lender string) consent.Claim {
	c := b.Device.claim()
	c.Of, c.Uses = of, fmt.Sprintf("boots %s with the kernel of %s", b.Image, lender)
	return c
}

// borrowers returns those of such lenders, in natural order.
func (l *Lab) borrowers(ctx context.Context, lends func(images.Ref) bool) (all []borrower, err error) {
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
	if _, _, err := l.Outlooks(ctx, booted); err != nil { // which looks at them
		return nil, err
	}
	return state.Read(ctx, l.Store, func(r state.Reader) (all []borrower, err error) {
		for _, d := range ds {
			img, here, err := images.Find(r, d.Image)
			if err != nil || !here {
				if err != nil {
					return nil, err
				}
				continue
			}
			o, known, err := l.Machines.Known(r, img, d.usual())
			if err != nil {
				return nil, err
			}
			if known && o.Why == "" && lends(o.Lender) {
				all = append(all, borrower{d, o.Lender})
			}
		}
		return all, nil
	})
}

// stranded returns which of the borrowers have no kernel any more, now that the images
// of a user are gone or are called otherwise.
func (c *change) stranded(all []borrower, user auth.Name) (claims []consent.Claim, err error) {
	for _, b := range all {
		d, here, err := devices.Find(c.tx, string(b.Name))
		if err != nil {
			return nil, err
		}
		if !here || b.Owner() == user && d.Free() { // a release is never refused
			continue
		}
		lent, err := c.lent(d)
		if err != nil {
			return nil, err
		}
		if !lent {
			claims = append(claims, b.claim(string(user), b.lender.String()))
		}
	}
	return claims, nil
}

// lent reports whether it is known that a machine can boot its image, and with which
// kernel that is here.
func (c *change) lent(d Device) (bool, error) {
	img, here, err := images.Find(c.tx, d.Image)
	if err != nil || !here {
		return false, err
	}
	o, known, err := c.lab.Machines.Known(c.tx, img, d.usual())
	if err != nil || !known || o.Why != "" || o.Lender == (images.Ref{}) {
		return known && o.Why == "", err
	}
	_, here, err = images.Find(c.tx, o.Lender)
	return here, err
}

// machines returns the nodes that are machines, in natural order.
func (l *Lab) machines(ctx context.Context) ([]Device, error) {
	if l.Machines == nil {
		return nil, nil
	}
	return read(ctx, l.view, func() (all []Device) {
		for _, d := range l.view.which(l.isMachine) {
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
	on, err := i.on()
	if err != nil {
		return err
	}
	for _, d := range on {
		booted, here, err := images.Find(i, d.Image)
		if err != nil {
			return err
		}
		if !here {
			continue
		}
		o, _, err := l.Machines.Known(i, booted, d.usual())
		if err != nil {
			return err
		}
		if o.Lender != ref || o.Why != "" {
			continue
		}
		bad, o, err := l.unfit(i, []Device{d.usual()}, img)
		if err != nil || len(bad) == 0 {
			return err
		}
		return fault.Failedf("%s lends its kernel to %s, which %s boots, and the new content has none that serves: %s; nothing changed", ref.Short(), d.Image, d.Name, o.Why).
			WithHint("clone it under another name, or: %s", o.Hint)
	}
	return nil
}

// on returns the machines that are on: of boards and PCs all, for nobody knows that.
func (i imageChange) on() (on []Device, err error) {
	macs, err := power.Machines(i)
	if err != nil {
		return nil, err
	}
	for _, mac := range macs {
		d, err := withMAC(i, mac)
		if err != nil {
			return nil, err
		}
		on = append(on, d)
	}
	if !i.change.lab.Boards {
		return on, nil
	}
	all, err := everything(i)
	for _, d := range inOrder(all) {
		if d.Kind == Node && d.Host == Physical {
			on = append(on, d)
		}
	}
	return on, err
}
