package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sort"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/consent"
	"walt/fault"
	"walt/journal"
	"walt/remote"
	"walt/state"
)

// filesWait is how long the files of a node that boots are waited for.
const filesWait = 30 * time.Second

// MayReach reports whether there is a node of that name, and why the user may not reach it,
// nil when that is possible.
func (l *Lab) MayReach(ctx context.Context, user auth.Name, n Name, given consent.Agreement) (here bool, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		d, err := reachable(r, user, n, given)
		here = d.Kind == Node
		return err
	})
	return here, err
}

// Files begins a conversation with the SFTP server of a node, as a stay of the user there, by
// sending what begins one.
func (l *Lab) Files(ctx context.Context, user auth.Name, n Name, given consent.Agreement, begins []byte) (io.ReadWriteCloser, error) {
	way, err := l.Reach(ctx, user, n, given, filesWait)
	if err != nil {
		return nil, err
	}
	visit := &Visit{lab: l, node: way.Node}
	if err = l.announce(ctx, user, []*Visit{visit}, deed{"opened its files", journal.Notice{
		One: string(user) + " opened the files of your node %s", Several: string(user) + " opened the files of %s",
	}}); err == nil {
		err = visit.err
	}
	var host ssh.PublicKey
	if err == nil && l.Agents != nil {
		host, err = l.Agents.HostKey(ctx, way.Node.MAC)
	}
	var stream io.ReadWriteCloser
	if err == nil {
		boot := fmt.Sprint(way.Node.Name, way.Node.MAC, way.Node.Addr)
		dial := func(ctx context.Context) (net.Conn, error) { return way.Dial(ctx, portSSH) }
		stream, err = l.files.Open(way.Context(), boot, dial, l.Key, host, begins)
	}
	switch {
	case err == nil:
		return stay{stream, sync.OnceFunc(way.Leave)}, nil
	case way.Context().Err() != nil:
		err = context.Cause(way.Context())
	case errors.Is(err, remote.ErrNoFiles):
		err = fault.Failedf("%s has no SFTP server: its image has none, and the agent of this lab does not run there", n).
			WithHint("install one into the image, as Debian's openssh-sftp-server")
	case fault.As(err) == nil:
		err = fault.Failedf("the connection to %s failed: %v", n, err).WithHint("see what it is doing with: node show --all")
	}
	way.Leave()
	return nil, err
}

// stay is a conversation that ends the user's stay with it.
type stay struct {
	io.ReadWriteCloser
	leave func()
}

func (s stay) Close() error {
	err := s.ReadWriteCloser.Close()
	s.leave()
	return err
}

// Reachable returns the names of nodes that are the user's, free, or shared with the user, the
// next that come after a name in the order of bytes, at most so many.
func (l *Lab) Reachable(ctx context.Context, user auth.Name, after string, most int) ([]Name, error) {
	return read(ctx, l.view, func() (names []Name) {
		all := l.view.keyed
		at := sort.Search(len(all), func(i int) bool { return string(all[i].Name) > after })
		for _, d := range all[at:] {
			if len(names) == most {
				break
			}
			if d.Kind == Node && len(claimsToUse([]Device{*d}, user)) == 0 {
				names = append(names, d.Name)
			}
		}
		return names
	})
}
