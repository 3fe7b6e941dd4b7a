package sim

import (
	"bufio"
	"context"
	"runtime/debug"
	"time"

	"github.com/gliderlabs/ssh"
)

// session serves one shell or command on the machine until it ends, the client
// goes away or the power is cut.
func (m *machine) session(s ssh.Session) {
	if !m.enter() {
		return
	}
	defer m.running.Done()
	sh := m.shell(s)
	status := sh.serve(s.Context(), s.RawCommand())
	// An error means that the client is gone: nobody is left to be told.
	_ = s.Exit(status)
	if sh.reboots {
		// Let the client leave by itself: it would take a cut for an accident.
		_ = sleep(s.Context(), time.Second)
		m.cut(errReboot)
	}
}

// enter counts one more session, unless the power is cut.
func (m *machine) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return false
	}
	m.running.Add(1)
	return true
}

// shell returns a shell on the streams of the session.
func (m *machine) shell(s ssh.Session) *shell {
	sh := &shell{node: m, dir: m.home()}
	if _, _, terminal := s.Pty(); !terminal {
		sh.in, sh.out, sh.err = bufio.NewReader(s), bufio.NewWriter(s), s.Stderr()
		return sh
	}
	sh.tty = newTTY(s)
	sh.in, sh.out, sh.err = bufio.NewReader(sh.tty), bufio.NewWriter(sh.tty), sh.tty
	m.running.Go(sh.tty.listen) // ends with the channel
	return sh
}

// serve runs the command line, or the lines of the input when there is none.
// It returns the exit status.
func (sh *shell) serve(ctx context.Context, line string) (status int) {
	defer func() {
		if p := recover(); p != nil {
			sh.node.log.Error("panic in a session", "panic", p, "stack", string(debug.Stack()))
			status = 70
		}
	}()
	if line == "" {
		sh.interact(ctx)
	} else {
		sh.run(ctx, line)
	}
	return sh.status
}
