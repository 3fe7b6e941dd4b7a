package nodes

import (
	"context"
	"errors"
	"fmt"

	"walt/images"
	"walt/state"
)

// Boot is called for a node that starts: it returns the image to boot and
// records, durably, that the node took it.
func (l *Lab) Boot(ctx context.Context, n Name) (images.Image, error) {
	var img images.Image
	var d Device
	read := func(r state.Reader) (err error) {
		if d, err = get(r, n); err != nil {
			return err
		}
		if d.Kind != Node {
			return fmt.Errorf("boot %s: it is a device of kind %s", n, d.Kind)
		}
		img, err = images.Get(r, d.Image)
		return err
	}
	moved := false
	err := l.Store.View(ctx, func(r state.Reader) (err error) {
		if err = read(r); err == nil {
			moved, err = l.Ports.IsOff(r, d.MAC)
		}
		return err
	})
	if err == nil && d.Settings.BootDelay > 0 {
		if err = pause(ctx, d.Settings.BootDelay); err == nil {
			err = l.Store.View(ctx, read)
		}
	}
	if err == nil && (d.Booted != img.Ref || d.Digest != img.Digest || moved) {
		_, err = l.Store.Update(ctx, func(tx state.Tx) error {
			if err := errors.Join(read(tx), l.Ports.NoteBoot(tx, d.MAC)); err != nil {
				return err
			}
			d.Booted, d.Digest = img.Ref, img.Digest
			return devices.Put(tx, string(n), d)
		})
	}
	if err != nil {
		return img, fmt.Errorf("boot %s: %w", n, err)
	}
	l.status.change(n, func(s *Status) {
		s.State, s.Addr, s.Why, s.due = Booting, "", "", false
		if s.late.IsZero() { // it started by itself
			s.late = l.Now().Add(d.Settings.bootTimeout())
		}
	})
	if !d.Virtual() {
		l.Ports.Rediscover()
	}
	return img, nil
}

// Up is called when a node runs; addr is host:port of its SSH server.
func (l *Lab) Up(n Name, addr string) {
	l.status.set(n, Up, addr)
	l.keepAddress(n, addr)
}

// Down is called when a node lost its power. One that was told to start only did
// so for a moment: it is booting.
func (l *Lab) Down(n Name) {
	l.status.change(n, func(s *Status) {
		if !s.due {
			s.State, s.Addr, s.Why = Off, "", ""
		}
	})
}
