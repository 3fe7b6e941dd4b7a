package nodes

import (
	"context"
	"errors"
	"fmt"

	"walt/auth"
	"walt/consent"
	"walt/ethernet"
	"walt/images"
)

// Virtual is a virtual node that is to be made.
type Virtual struct {
	Name      Name
	Model     images.Model
	Simulated bool         // whatever others are
	Settings  []Assignment // that it has from its first start
	Remarks   Remarks
}

// Creates says what runs a new virtual node of a model, and why it is not run as
// others, in words for users; "" when there is nothing to say. An error says that
// there can be no such node.
type Creates func(images.Model) (host HostKind, note string, err error)

// Create makes a virtual node that the user owns at once, as if it had been
// there free and was acquired. The default image of the model is downloaded
// first when it is not here; report, which may be nil, is told of that.
func (l *Lab) Create(ctx context.Context, user auth.Name, v Virtual, report func(images.Progress)) (Result, error) {
	host, note := Simulated, ""
	if !v.Simulated && l.Creates != nil {
		var err error
		if host, note, err = l.Creates(v.Model); err != nil {
			return Result{}, err
		}
	}
	s := newSubject(Device{Name: v.Name, Kind: Node, Model: v.Model, Host: host})
	if err := s.assign(v.Settings); err != nil {
		return Result{}, err
	}
	if err := l.Images.Obtain(ctx, user, v.Model, report); err != nil {
		return Result{}, err
	}
	r, err := l.change(ctx, user.Actor(), consent.Agreement{}, func(c *change) error {
		c.remarks = v.Remarks
		def, err := images.Get(c.tx, images.DefaultRef(v.Model))
		if err != nil {
			return err
		}
		d, err := l.admit(c.tx, c.actor, Announcement{Name: v.Name, MAC: ethernet.RandomMAC(), Model: v.Model, Host: host})
		if err != nil {
			return err
		}
		d.Own = s.Own
		if err := l.room(c.tx, d); err != nil {
			return err
		}
		l.enroll(&d, def)
		if err := errors.Join(put(c.tx, d), l.Journal.Record(c.tx, registration(user.Actor(), d, "virtual node "+string(v.Model)))); err != nil {
			return err
		}
		c.instead = fmt.Sprintf("make a node that is simulated: node create %s --model %s --simulated\nor see what an image needs: help show booting", v.Name, v.Model)
		if err := c.able([]Device{d}, user); err != nil {
			return err
		}
		return c.take([]Device{d}, user)
	})
	r.Note = note
	return r, err
}
