package nodes

import (
	"context"

	"walt/auth"
	"walt/images"
	"walt/state"
)

// Detail is what is shown of one node alone.
type Detail struct {
	DeviceStatus
	Next images.Image // that it boots at its next start
	// Console is the last that a node wrote there which is not up, for those who may see
	// it: administrators, and the user whose image it booted, or of a board who has it; all,
	// if that is nobody.
	Console []string
	Trail
	Verdict Verdict // of its last test, the zero Verdict when there was none
}

// Detail looks closer at a node, for a user.
func (l *Lab) Detail(ctx context.Context, user auth.Name, admin bool, n DeviceStatus) (Detail, error) {
	d := Detail{DeviceStatus: n, Trail: l.Trail(n.Name)}
	of := n.Booted.User
	if n.State != Up {
		d.Console, of = l.lastWritten(*n.Device)
	}
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		now, _, err := devices.Find(r, string(n.Name))
		if err != nil {
			return err
		}
		// What was written may be of a later boot than n tells of: both must be open to the user.
		later := reads(user, now.Booted.User) || !n.Virtual() // what a board writes later is of another term
		if !admin && !(reads(user, of) && later) {
			d.Console = nil
		}
		if d.Verdict, _, err = verdicts.Find(r, string(n.MAC)); err != nil {
			return err
		}
		d.Next, _, err = images.Find(r, n.Image)
		return err
	})
	return d, err
}
