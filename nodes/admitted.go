package nodes

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/pause"
)

// Admission is who may log in to a node.
type Admission = auth.Admission

// Admitted returns who may log in to a node as root, beside the lab itself: its owner and those
// the owner shares it with; to a free one, all users; to what is no node, nobody.
func (l *Lab) Admitted(ctx context.Context, n Name) (*Admission, error) {
	users, err := read(ctx, l.view, func() []auth.Name { return l.view.named[n].admits() })
	if err != nil {
		return nil, err
	}
	return l.Users.Admitted(ctx, users...)
}

// Admits reports whether a key or certificate, which the client was seen to hold, is of
// somebody whom Admitted names.
func (l *Lab) Admits(ctx context.Context, n Name, key ssh.PublicKey) (bool, error) {
	users, err := read(ctx, l.view, func() []auth.Name { return l.view.named[n].admits() })
	if err != nil {
		return false, err
	}
	return l.Users.Admits(ctx, key, users...)
}

// admits are the users who may log in to a device; nil is none.
func (d *Device) admits() []auth.Name {
	switch {
	case d == nil || d.Kind != Node:
		return nil
	case d.Free():
		return []auth.Name{auth.Everybody}
	}
	return append(slices.Clone(d.Remarks().Mates), d.Owner())
}

// HostSigners are what the SSH server of a node shows: its host key, and that key with a
// certificate; none: the node makes a key of its own.
func (l *Lab) HostSigners(ctx context.Context, n Name) ([]ssh.Signer, error) {
	d, err := read(ctx, l.view, func() *Device { return l.view.named[n] })
	if err != nil || d == nil || l.Agents == nil {
		return nil, err
	}
	return l.Agents.HostSigners(ctx, d.MAC, n)
}

// NodeHostKey is the host key that a node has.
type NodeHostKey struct {
	Node Name
	Key  ssh.PublicKey
}

// HostKeys returns those of nodes that are machines and have been booted, in natural order:
// what images without certificates show. Simulated nodes show certificates.
func (l *Lab) HostKeys(ctx context.Context) (all []NodeHostKey, err error) {
	if l.Agents == nil {
		return nil, nil
	}
	machines, err := read(ctx, l.view, func() []*Device {
		return l.view.which(func(d *Device) bool { return d.Kind == Node && d.Host != Simulated })
	})
	for _, d := range machines {
		key, bad := l.Agents.HostKey(ctx, d.MAC)
		if err = errors.Join(err, bad); err != nil {
			return nil, err
		}
		if key != nil {
			all = append(all, NodeHostKey{d.Name, key})
		}
	}
	return all, err
}

// readmitPause is for how long changes gather before machines are told of them.
const readmitPause = 200 * time.Millisecond

// readmit has machines that are up let in who may log in to them by then, soon after that has
// changed, until ctx ends.
func (l *Lab) readmit(ctx context.Context) error {
	if l.Agents == nil {
		return nil
	}
	watch := l.Store.Watch(devices.Prefix(""))
	defer watch.Close()
	for {
		all, err := l.Users.Admitted(ctx, auth.Everybody)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var expires <-chan time.Time
		if !all.Until.IsZero() {
			expires = time.After(all.Until.Sub(l.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Changed():
		case <-l.Users.Readmit():
		case <-expires:
		}
		if pause.For(ctx, readmitPause) != nil {
			return nil
		}
		for more := true; more; {
			if _, more, err = watch.Take(); err != nil {
				return err
			}
		}
		l.Agents.Readmit(ctx)
	}
}
