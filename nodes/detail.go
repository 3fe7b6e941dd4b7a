package nodes

import (
	"context"

	"walt/images"
	"walt/state"
)

// Detail is what is shown of one node alone.
type Detail struct {
	DeviceStatus
	Next images.Image // that it boots at its next start
}

// Detail looks closer at a node.
func (l *Lab) Detail(ctx context.Context, n DeviceStatus) (Detail, error) {
	next, err := state.Read(ctx, l.Store, func(r state.Reader) (images.Image, error) {
		img, _, err := images.Find(r, n.Image)
		return img, err
	})
	return Detail{DeviceStatus: n, Next: next}, err
}
