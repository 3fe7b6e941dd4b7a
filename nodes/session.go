package nodes

import (
	"context"
	"errors"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/remote"
	"walt/state"
)

// RunSession runs s on the node, over SSH with the lab's key, and returns the
// exit status of what ran there. It ends when the node changes hands.
func (l *Lab) RunSession(ctx context.Context, user auth.Name, n DeviceStatus, s remote.Session) (int, error) {
	if n.State != Up {
		return 0, fault.Failedf("%s is not up (%s)", n.Name, n.State).WithHint("wait for it with: node wait %s", n.Name)
	}
	ctx, leave := l.visitors.Enter(ctx, string(n.Name), user)
	defer l.left(ctx, n) // after leave: a session that is over was use until now
	defer leave()
	if err := l.sameOwner(ctx, user, n); err != nil {
		return 0, err
	}
	status, err := remote.Run(ctx, n.Addr, l.Key, s)
	switch {
	case err == nil:
		return status, nil
	case fault.As(context.Cause(ctx)) != nil: // of who evicted it
		return 0, context.Cause(ctx)
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return 0, fault.Failedf("the connection to %s failed: %v", n.Name, err).WithHint("see what it is doing with: node show --all")
}

// left notes that a node was used until now.
func (l *Lab) left(ctx context.Context, n DeviceStatus) {
	if n.Port.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), softLimit)
	defer cancel()
	if _, err := l.Store.Update(ctx, func(tx state.Tx) error { return l.Ports.NoteUse(tx, n.MAC) }); err != nil {
		l.Log.Error("note the use of a node", "node", n.Name, "err", err)
	}
}

// sameOwner checks that the node did not change hands before its session was
// noted: from then on, the change ends it.
func (l *Lab) sameOwner(ctx context.Context, user auth.Name, n DeviceStatus) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		now, err := get(r, n.Name)
		if err == nil && now.contested(user) && now.Owner() != n.Owner() {
			return changedHands(n.Name)
		}
		return err
	})
}

// changedHands is why a session on a node ends.
func changedHands(n Name) error {
	return fault.Failedf("%s changed hands", n).WithHint("see whose it is with: node show --all")
}

// Ping connects to the SSH server of a node and returns how long that took.
func (l *Lab) Ping(ctx context.Context, n DeviceStatus) (time.Duration, error) {
	if n.Addr == "" {
		return 0, errors.New("it is " + string(n.State))
	}
	return remote.Ping(ctx, n.Addr)
}
