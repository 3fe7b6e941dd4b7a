package nodes

import (
	"context"

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
