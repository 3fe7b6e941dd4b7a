package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/remote"
	"walt/state"
)

// RunSession runs s on the node, over SSH with the lab's key, and returns the
// exit status of what ran there. It ends when the node changes hands. On a node of
// somebody else, the log and the owner are told of it: of the command as it is
// shown, without secrets, "" for a shell.
func (l *Lab) RunSession(ctx context.Context, user auth.Name, n DeviceStatus, shown string, s remote.Session) (int, error) {
	if n.Off.By != "" {
		return 0, wantedOff(n.Name, n.Off)
	}
	if n.State != Up {
		return 0, fault.Failedf("%s is not up (%s)", n.Name, n.State).WithHint("wait for it with: node wait %s", n.Name)
	}
	ctx, leave := l.visitors.Enter(ctx, string(n.Name), user)
	defer l.left(ctx, n) // after leave: a session that is over was use until now
	defer leave()
	if err := l.visit(ctx, user, n, shown); err != nil {
		return 0, err
	}
	status, err := remote.Run(ctx, l.Dial, n.Addr, l.Key, s)
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

// lastWords is how long the end of a session may take to come from a node that is down.
const lastWords = 2 * time.Second

// cut ends the sessions on a node that went down: a machine does not say itself that its
// connections have ended.
func (l *Lab) cut(n Name, why string) {
	end := l.visitors.Present(string(n))
	if end == nil {
		return
	}
	l.works.Go(func() { // ends after that time; Run waits for it
		time.Sleep(lastWords)
		end(fault.Failedf("%s went down: %s", n, why).WithHint("see what it is doing with: node show --all"))
	})
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

// visit checks that the node did not change hands before its session was noted:
// from then on, the change ends it. It tells of a session on a node of somebody
// else.
func (l *Lab) visit(ctx context.Context, user auth.Name, n DeviceStatus, command string) error {
	check := func(r state.Reader) (Device, error) {
		now, err := get(r, n.Name)
		if err == nil && now.contested(user) && now.Owner() != n.Owner() {
			err = changedHands(n.Name)
		}
		return now, err
	}
	now, err := state.Read(ctx, l.Store, check)
	if err != nil || !now.contested(user) {
		return err
	}
	did, about := "opened a shell", ""
	if command != "" {
		did, about = "ran a command", ": "+shorten(command)
	}
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		now, err := check(tx)
		if err != nil {
			return err
		}
		e := journal.Event{Type: journal.Visit, Actor: journal.Actor(user), Node: string(n.Name), From: string(now.Owner()), Detail: did + about}
		return errors.Join(l.Journal.Record(tx, e), l.Journal.Tell(tx, string(now.Owner()), fmt.Sprintf("%s %s on your node %s%s", user, did, n.Name, about)))
	})
	return err
}

// shorten returns a command as one line that is not too long to be kept.
func shorten(command string) string {
	const most = 200 // characters
	if all := []rune(command); len(all) > most {
		return string(all[:most]) + "..."
	}
	return command
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
	return remote.Ping(ctx, l.Dial, n.Addr)
}
