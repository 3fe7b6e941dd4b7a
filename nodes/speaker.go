package nodes

import (
	"context"
	"time"

	"walt/auth"
	"walt/ethernet"
	"walt/state"
)

// Speaker returns what is known of a node that says something: its MAC address, and whose it
// is, auth.Nobody's when it is free; false when there is no such node. What an image of the
// owner before says, which is still to end, is that owner's.
func (l *Lab) Speaker(ctx context.Context, n Name) (mac ethernet.MAC, owner auth.Name, ok bool) {
	d, err := read(ctx, l.view, func() *Device { return l.view.named[n] })
	if err != nil || d == nil || d.Kind != Node {
		return "", "", false
	}
	if d.outlived() {
		return d.MAC, d.Booted.User, true
	}
	return d.MAC, d.Owner(), true
}

// outlived reports whether the image that the device took at its last start is of an owner
// before.
func (d *Device) outlived() bool {
	return !d.Booted.IsZero() && !reads(d.Owner(), d.Booted.User)
}

// Hears reports whether the user may read what the device said at a time when it was the
// owner's: that is for the owner and for whom the owner shares it with now, and what it said
// while it was free, for everybody. Nobody inherits it with a name.
func (d *Device) Hears(user auth.User, owner auth.Name, at time.Time) bool {
	if user.Admin || owner == auth.Nobody {
		return true
	}
	if at.Before(user.Created) {
		return false
	}
	return owner == user.Name || owner == d.Owner() && d.sharedWith(user.Name)
}

// WithMAC is the device of an address as it is now, nil when there is none.
func (l *Lab) WithMAC(mac ethernet.MAC) (*Device, error) {
	return state.Read(context.Background(), l.Store, func(r state.Reader) (*Device, error) {
		found, err := withMACs(r, []ethernet.MAC{mac})
		if err != nil || len(found) == 0 {
			return nil, err
		}
		return &found[0], nil
	})
}
