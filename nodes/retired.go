package nodes

import (
	"context"

	"walt/auth"
	"walt/consent"
	"walt/images"
	"walt/journal"
)

// Retire takes the nodes of the set out of service, contested ones with consent, until
// Return: whoever wants any node gets others, no image is tried on them, and their power is
// not saved; those that are off to save it get it back. Whose they are stays. Why is for
// people, "" for no reason. It returns the nodes.
func (l *Lab) Retire(ctx context.Context, user auth.Name, set Set, why string, given consent.Agreement) (ds []Device, err error) {
	_, err = l.change(ctx, user.Actor(), given, func(c *change) (err error) {
		if ds, err = set.expand(l.stored(ctx, c.tx), user, nodeScope); err != nil {
			return err
		}
		if err := given.Check(claims(ds, user)); err != nil {
			return err
		}
		detail, notice := "retired", ""
		if why != "" {
			detail, notice = detail+": "+why, quoted(", saying ", why)
		}
		for i := range ds {
			d := &ds[i]
			d.mark(func(m *Marks) { m.Retired = &Retired{By: user, Since: l.Now().UTC(), Why: why} })
			tell(&c.told, user, *d, journal.Notice{One: string(user) + " took your node %s out of service" + notice, Several: string(user) + " took %s out of service" + notice})
			if err := c.marked(*d, detail); err != nil {
				return err
			}
			off, is, err := l.Ports.Off(c.tx, d.MAC)
			if err == nil && is && off.By == "" { // to save power, for nobody switched it off
				err = c.move(*d, true, "retired")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ds, err
}

// rests reports whether the device is left alone when its image gets other content: it is
// nobody's and out of service. It boots that when it is returned.
func (d *Device) rests() bool { return d.Kind == Node && d.Free() && d.Retired() != nil }

// Return has the nodes of the set be of service again; those whose default image got other
// content meanwhile restart on that. It returns those that were out of service.
func (l *Lab) Return(ctx context.Context, user auth.Name, set Set) (back []Device, err error) {
	_, err = l.change(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		back = nil
		ds, err := set.expand(l.stored(ctx, c.tx), user, nodeScope)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.Retired() == nil {
				continue
			}
			rested := d.rests()
			d.mark(func(m *Marks) { m.Retired = nil })
			if rested {
				if err := c.catchUp(d); err != nil {
					return err
				}
			}
			if err := l.Ports.NoteUse(c.tx, d.MAC); err != nil { // it is idle from now on
				return err
			}
			if err := c.marked(d, "returned to service"); err != nil {
				return err
			}
			back = append(back, d)
		}
		return nil
	})
	return back, err
}

// catchUp has a device restart that took other content at its last start than its image has.
func (c *change) catchUp(d Device) error {
	img, err := images.Get(c.tx, d.Image)
	if err != nil || d.Digest == "" || d.Digest == img.Digest {
		return err
	}
	return c.move(d, false, "returned to service")
}
