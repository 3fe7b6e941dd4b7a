package nodes

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"walt/auth"
	"walt/fault"
	"walt/state"
)

// Visit is a command or a shell that a user runs on a node over SSH, as root,
// with the lab's key.
type Visit struct {
	Command  string // "" for a shell
	In       io.Reader
	Out, Err io.Writer
	Terminal *Window // nil for none
}

// Window is the user's terminal.
type Window struct {
	Name    string                     // as in TERM
	Size    func() (width, height int) // in character cells
	Resized <-chan struct{}
}

// dialTime is how long a node may take to accept a login.
const dialTime = 10 * time.Second

// ErrTaken is the cause of a visit that ended because the node changed hands.
var ErrTaken = errors.New("the node changed hands")

// errEnded is when a node ends a visit without saying how what ran there ended.
var errEnded = errors.New("the node ended it")

// Visit runs v on the node and returns the exit status of what ran there; what
// ends without one counts as 255. A visit ends when the node changes hands.
func (l *Lab) Visit(ctx context.Context, user auth.Name, n NodeState, v Visit) (int, error) {
	if n.State != Up {
		return 0, fault.Failedf("%s is not up (%s)", n.Name, n.State).WithHint("wait for it with: node wait %s", n.Name)
	}
	ctx, leave := l.visits.enter(ctx, n.Name, user)
	defer l.left(ctx, n) // after leave: a visit that is over was use until now
	defer leave()
	if err := l.still(ctx, user, n); err != nil {
		return 0, err
	}
	status, err := visit(ctx, n.Addr, l.Key, v)
	switch {
	case err == nil:
		return status, nil
	case context.Cause(ctx) == ErrTaken:
		return 0, lost(n)
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return 0, fault.Failedf("the connection to %s failed: %v", n.Name, err).WithHint("see what it is doing with: node show --all")
}

// left notes that a node was used until now.
func (l *Lab) left(ctx context.Context, n NodeState) {
	if n.Port.Switch == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), softLimit)
	defer cancel()
	if _, err := l.Store.Update(ctx, func(tx state.Tx) error { return l.touch(tx, n.Device) }); err != nil {
		l.Log.Error("note the use of a node", "node", n.Name, "err", err)
	}
}

// still checks that the node did not change hands before the visit was noted:
// from then on, cut ends it.
func (l *Lab) still(ctx context.Context, user auth.Name, n NodeState) error {
	return l.Store.View(ctx, func(r state.Reader) error {
		now, err := get(r, n.Name)
		if err == nil && now.contested(user) && now.Owner() != n.Owner() {
			return lost(n)
		}
		return err
	})
}

func lost(n NodeState) error {
	return fault.Failedf("%s was taken by somebody else", n.Name).WithHint("see whose it is with: node show --all")
}

func visit(ctx context.Context, addr string, key ssh.Signer, v Visit) (int, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dialing, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return 0, err
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: "root",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		// A node's host key comes with the image that it boots, and users make
		// those: there is nothing to compare it with.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return 0, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return 0, err
	}
	client := ssh.NewClient(c, chans, reqs)
	defer client.Close()
	return v.run(client)
}

func (v Visit) run(client *ssh.Client) (int, error) {
	session, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	defer session.Close()
	// The session's own copying of its input would wait, at the end, for one
	// more byte of a user who types none.
	stdin, err := session.StdinPipe()
	if err != nil {
		return 0, err
	}
	session.Stdout, session.Stderr = v.Out, v.Err
	if w := v.Terminal; w != nil {
		width, height := w.Size()
		if err := session.RequestPty(w.Name, height, width, ssh.TerminalModes{}); err != nil {
			return 0, err
		}
		done := make(chan struct{})
		defer close(done)
		go w.follow(session, done) // ends with run
	}
	if v.Command == "" {
		err = session.Shell()
	} else {
		err = session.Start(v.Command)
	}
	if err != nil {
		return 0, err
	}
	go func() { // ends when the user's input does, or at the first of it after the session
		io.Copy(stdin, v.In)
		stdin.Close()
	}()
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch err := session.Wait(); {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case errors.As(err, &missing):
		return 0, errEnded
	default:
		return 0, err
	}
}

func (w *Window) follow(session *ssh.Session, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-w.Resized:
			width, height := w.Size()
			if err := session.WindowChange(height, width); err != nil {
				return
			}
		}
	}
}

// visits is who is on which node now, so that they can be cut.
type visits struct {
	mu  sync.Mutex
	all map[Name]map[*visitor]struct{}
}

type visitor struct {
	user   auth.Name
	cancel context.CancelCauseFunc
}

func newVisits() *visits { return &visits{all: map[Name]map[*visitor]struct{}{}} }

// enter notes that the user is on the node until leave is called.
func (v *visits) enter(ctx context.Context, n Name, user auth.Name) (_ context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	me := &visitor{user, cancel}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all[n] == nil {
		v.all[n] = map[*visitor]struct{}{}
	}
	v.all[n][me] = struct{}{}
	return ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		cancel(nil)
		delete(v.all[n], me)
		if len(v.all[n]) == 0 {
			delete(v.all, n)
		}
	}
}

// any reports whether somebody is on the node.
func (v *visits) any(n Name) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.all[n]) > 0
}

// cut ends the visits of everybody but the new owner.
func (v *visits) cut(n Name, owner auth.Name) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for who := range v.all[n] {
		if who.user != owner {
			who.cancel(ErrTaken)
		}
	}
}
