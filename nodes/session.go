package nodes

import (
	"context"
	"errors"
	"strings"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/journal"
	"walt/remote"
	"walt/state"
)

// Visit is a session of a user on a node, which is about to begin.
type Visit struct {
	lab   *Lab
	node  DeviceStatus
	ctx   context.Context
	leave func()
	err   error // why there is none
}

// Visits prepares a session on each of the nodes, all of which have to be run. A session
// ends when its node changes hands. The log, and the owners of nodes that are somebody
// else's and not shared with the user, are told of all of them at once: of the command as it is shown, without secrets,
// "" for a shell.
func (l *Lab) Visits(ctx context.Context, user auth.Name, ns []DeviceStatus, shown string) []*Visit {
	all := make([]*Visit, len(ns))
	var begin []*Visit
	for i, n := range ns {
		v := &Visit{lab: l, node: n}
		if all[i], v.err = v, cannotVisit(n); v.err != nil {
			continue
		}
		v.ctx, v.leave = l.visitors.Enter(ctx, string(n.Name), user)
		begin = append(begin, v)
	}
	if err := l.announce(ctx, user, begin, ran(user, shown)); err != nil {
		for _, v := range begin {
			v.err = err
		}
	}
	return all
}

// cannotVisit is why nothing runs on a node, nil when it is up or Stopped.
func cannotVisit(n DeviceStatus) error {
	switch {
	case n.Off.By != "", n.isOffByHand(n.Device):
		return isOff(n.Name, n.Why)
	case n.State != Up && !n.Stopped():
		return fault.Failedf("%s is not up (%s)", n.Name, n.State).WithHint("wait for it with: node wait %s", n.Name)
	}
	return nil
}

// RunSession runs s on one node, as a Visit.
func (l *Lab) RunSession(ctx context.Context, user auth.Name, n DeviceStatus, shown string, s remote.Session) (int, error) {
	return l.Visits(ctx, user, []DeviceStatus{n}, shown)[0].Run(s)
}

// Run runs s on the node, over SSH with the lab's key, and returns the exit status of
// what ran there.
func (v *Visit) Run(s remote.Session) (int, error) {
	if v.leave == nil {
		return 0, v.err
	}
	defer v.lab.left(v.ctx, v.node) // after leave: a session that is over was use until now
	defer v.leave()
	if v.err != nil {
		return 0, v.err
	}
	status, err := v.lab.run(v.ctx, *v.node.Device, v.node.Addr, s)
	switch {
	case err == nil:
		return status, nil
	case fault.As(context.Cause(v.ctx)) != nil: // of who evicted it
		return 0, context.Cause(v.ctx)
	case v.ctx.Err() != nil:
		return 0, v.ctx.Err()
	}
	return 0, fault.Failedf("the connection to %s failed: %v", v.node.Name, err).WithHint("see what it is doing with: node show --all")
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

// left notes that a node was used until now, if it is one that saves power: of one that is
// somebody's, that is noted when it becomes free.
func (l *Lab) left(ctx context.Context, n DeviceStatus) {
	if !n.Free() || n.Port.IsZero() && n.Host != QEMU {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), softLimit)
	defer cancel()
	_, err := l.Store.Update(ctx, func(tx state.Tx) error { return l.Ports.NoteUse(tx, n.MAC) })
	l.unnoted.because(l.Log, err, "note the use of a node", n.Name)
}

// deed is what the log and the owners of nodes are told that a user did there.
type deed struct {
	detail string
	words  journal.Notice
}

// ran is the deed of a session: a command, "" for a shell.
func ran(user auth.Name, command string) deed {
	if command == "" {
		return deed{"opened a shell", journal.Notice{One: string(user) + " opened a shell on your node %s", Several: string(user) + " opened a shell on %s"}}
	}
	command = shorten(command)
	literal := strings.ReplaceAll(command, "%", "%%")
	return deed{"ran a command: " + command, journal.Notice{
		One: string(user) + " ran a command on your node %s: " + literal, Several: string(user) + " ran a command, " + literal + ", on %s",
	}}
}

// announce checks that the nodes did not change hands before their sessions were noted:
// from then on, the change ends them. It tells of sessions on nodes of others.
func (l *Lab) announce(ctx context.Context, user auth.Name, visits []*Visit, what deed) error {
	others, err := state.Read(ctx, l.Store, func(r state.Reader) ([]Device, error) { return contested(r, user, visits) })
	if err != nil || len(others) == 0 {
		return err
	}
	_, err = l.Store.Update(ctx, func(tx state.Tx) error {
		others, err := contested(tx, user, visits)
		if err != nil {
			return err
		}
		var told journal.Bundle
		for _, d := range others {
			told.Record(journal.Event{Type: journal.Visit, Actor: journal.Actor(user), Node: string(d.Name), From: string(d.Owner()), Detail: what.detail})
			if !d.sharedWith(user) {
				told.Tell(string(d.Owner()), string(d.Name), what.words)
			}
		}
		return l.Journal.Write(tx, told)
	})
	return err
}

// contested returns which of the visited nodes are somebody else's, and notes which
// cannot be visited: they changed hands since they were looked at, or are gone.
func contested(r state.Reader, user auth.Name, visits []*Visit) (others []Device, err error) {
	for _, v := range visits {
		now, err := get(r, v.node.Name)
		switch v.err = nil; {
		case fault.As(err) != nil:
			v.err = err
		case err != nil:
			return nil, err
		case !now.contested(user):
		case now.Owner() != v.node.Owner():
			v.err = changedHands(now.Name)
		default:
			others = append(others, now)
		}
	}
	return others, nil
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
