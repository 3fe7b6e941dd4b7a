package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/ethernet"
	"walt/remote"
	"walt/state"
)

// ErrNoAgent says that no agent of ours does it on a node.
var ErrNoAgent = errors.New("nodes: no agent is connected")

// Agents are our programs on nodes that are machines, and what they were given.
type Agents interface {
	// Reboot and PowerOff have a node do that, and return when it has begun. The error is
	// ErrNoAgent when it has no agent.
	Reboot(context.Context, Name) error
	PowerOff(context.Context, Name) error
	// Connected reports whether the agent of a node is.
	Connected(ethernet.MAC) bool
	// Deaf reports whether the agent of a node says that no packet wakes its network card.
	Deaf(ethernet.MAC) bool
	// Blink has a node blink for some time, and does not wait for that. The error is
	// ErrNoAgent when it has no agent, or nothing to blink with.
	Blink(Name, time.Duration) error
	// Taken is how many bytes of its root file system a node has taken into its memory in
	// this boot.
	Taken(Name) int64
	// Renamed is told that the node with a MAC address is called otherwise.
	Renamed(ethernet.MAC, Name)
	// Forgo drops within tx what is kept of a device that is removed, and Gone is told after
	// the commit.
	Forgo(state.Tx, ethernet.MAC) error
	Gone(ethernet.MAC)
	// HostKey is what the SSH server of a node shows, nil when that is not known.
	HostKey(context.Context, ethernet.MAC) (ssh.PublicKey, error)
	// HostSigners are that key, made when it is first asked for, and the key with a
	// certificate that it is the node's of that name.
	HostSigners(context.Context, ethernet.MAC, Name) ([]ssh.Signer, error)
	// Readmit has all nodes let in whom Lab.Admitted names by now.
	Readmit(context.Context)
}

// Blink has a node blink by its agent; the log and its owner are told as of a Visit. The
// error is ErrNoAgent when it cannot.
func (l *Lab) Blink(ctx context.Context, user auth.Name, n DeviceStatus, d time.Duration) error {
	if l.Agents == nil || n.State != Up {
		return ErrNoAgent
	}
	if err := l.Agents.Blink(n.Name, d); err != nil {
		return err
	}
	v := &Visit{lab: l, node: n}
	if err := l.announce(ctx, user, []*Visit{v}, ran(user, "blink "+d.String())); err != nil {
		return err
	}
	return v.err
}

// ask has a node that is up reboot, or power off, by itself: by its agent, or else by the
// command of that name.
func (l *Lab) ask(ctx context.Context, d Device, addr, command string) error {
	err := ErrNoAgent
	if l.Agents != nil && command == "reboot" {
		err = l.Agents.Reboot(ctx, d.Name)
	} else if l.Agents != nil {
		err = l.Agents.PowerOff(ctx, d.Name)
	}
	if !errors.Is(err, ErrNoAgent) {
		return err
	}
	status, err := l.run(ctx, d, addr, remote.Session{Command: command, In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	switch {
	case errors.Is(err, remote.ErrEnded):
		return nil
	case err == nil && !wentDown(status):
		return fmt.Errorf("its command %s ended with status %d", command, status)
	}
	return err
}

// wentDown reports whether a command that is to end a node did: it went well, or was ended
// with everything else, by SIGHUP, SIGKILL or SIGTERM.
func wentDown(status int) bool {
	return slices.Contains([]int{0, 128 + 1, 128 + 9, 128 + 15}, status)
}

// run runs a session on a node, if it is that which answers at the address.
func (l *Lab) run(ctx context.Context, d Device, addr string, s remote.Session) (status int, err error) {
	var host ssh.PublicKey
	if l.Agents != nil {
		if host, err = l.Agents.HostKey(ctx, d.MAC); err != nil {
			return 0, err
		}
	}
	return remote.Run(ctx, l.Dial, addr, l.Key, host, s)
}
