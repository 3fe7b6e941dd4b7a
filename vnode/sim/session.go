package sim

import (
	"context"
	"time"

	"github.com/gliderlabs/ssh"

	"walt/pause"
)

// session serves one shell or command on the machine until it ends, the client
// goes away or the power is cut. What it left running in the background ends
// with it.
func (m *machine) session(s ssh.Session) {
	if !m.enter() {
		return
	}
	defer m.running.Done()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	sh := m.shell(s)
	sh.guard(func() {
		if line := s.RawCommand(); line == "" {
			sh.interact(ctx)
		} else {
			sh.foreground(ctx, func(ctx context.Context) { sh.script(ctx, line) })
		}
	})
	// An error means that the client is gone: nobody is left to be told.
	_ = s.Exit(sh.status)
	cancel()
	sh.all.Wait()
	if sh.reboots.Load() {
		// Let the client leave by itself: it would take a cut for an accident.
		_ = pause.For(s.Context(), time.Second)
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
	sh := m.newShell()
	if _, _, terminal := s.Pty(); !terminal {
		sh.redirect(s, s, s.Stderr())
		return sh
	}
	sh.tty = newTTY(s)
	sh.redirect(sh.tty, sh.tty, sh.tty)
	m.running.Go(sh.tty.listen) // ends with the channel
	return sh
}
