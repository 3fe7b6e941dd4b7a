package nodes

import (
	"context"
	"time"

	"walt/auth"
	"walt/ethernet"
)

// Speaker returns what is known of a node that says something: its MAC address, and who owns
// it now, auth.Nobody when it is free; false when there is no such node.
func (l *Lab) Speaker(ctx context.Context, n Name) (mac ethernet.MAC, owner auth.Name, ok bool) {
	d, err := read(ctx, l.view, func() *Device { return l.view.named[n] })
	if err != nil || d == nil || d.Kind != Node {
		return "", "", false
	}
	return d.MAC, d.Owner(), true
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
