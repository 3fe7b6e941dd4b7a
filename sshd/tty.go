package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	typeAhead = 64 << 10 // bytes that are kept for whoever reads next
	maxCells  = 1000     // columns or rows that a window is believed to have
)

var errIdle = errors.New("nothing was typed for too long")

// tty is a session's terminal. One goroutine, pump, reads what is typed; the
// line editor or the command that runs takes it from there. Both streams of
// output go to the same place.
type tty struct {
	ctx     context.Context // the session's
	keys    io.Reader       // what is typed
	wire    io.Writer       // to the client
	name    string
	resized chan struct{}

	mu            sync.Mutex
	width, height int
	typed         []byte
	afterCR       bool               // the last key was Enter: LF belongs to it
	ended         bool               // that more will be typed
	interrupt     context.CancelFunc // cancels the command that has the terminal
	raw           bool               // it passes the terminal on: nothing is interpreted
	changed       chan struct{}      // closed when any of the above changes

	editLock chan struct{} // holds one while a line is edited
	out      sync.Mutex
	editing  *screen // while a line is being edited
	midLine  bool    // output did not end its line
}

func newTTY(ctx context.Context, keys io.Reader, wire io.Writer, name string) *tty {
	return &tty{
		ctx: ctx, keys: keys, wire: wire, name: name,
		resized: make(chan struct{}, 1), changed: make(chan struct{}), editLock: make(chan struct{}, 1),
	}
}

// terminalName is what a client calls its terminal. One without a name, or of an unknown
// type, is taken to know no escape sequences.
func terminalName(term string) string {
	if name := printable(term, 64); name != "" && name != "unknown" {
		return name
	}
	return "dumb"
}

// pump moves what is typed to whoever reads, until that or the session ends.
func (t *tty) pump() {
	p := make([]byte, 512)
	for {
		n, err := t.keys.Read(p)
		t.cancelCommand(t.receive(p[:n]))
		if err != nil {
			t.mu.Lock()
			t.ended = true
			t.wakeAll()
			t.mu.Unlock()
			return
		}
	}
}

// receive stores what was typed, and returns what a Ctrl-C in it cancels, if
// anything. What does not fit is lost, as on any terminal, except in raw mode,
// where Ctrl-C need not be seen and receive can wait.
func (t *tty) receive(p []byte) context.CancelFunc {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.raw && len(t.typed)+len(p) > typeAhead {
		if t.await(t.ctx, nil) != nil {
			return nil
		}
	}
	t.typed = append(t.typed, p...)
	cancel := t.findCtrlC()
	t.typed = t.typed[:min(len(t.typed), typeAhead)]
	t.wakeAll()
	return cancel
}

// findCtrlC looks for a Ctrl-C while a command has the terminal. What was
// typed before it is dropped.
func (t *tty) findCtrlC() context.CancelFunc {
	if t.interrupt == nil || t.raw {
		return nil
	}
	i := bytes.LastIndexByte(t.typed, ctrlC)
	if i < 0 {
		return nil
	}
	t.typed = t.typed[i+1:]
	return t.interrupt
}

// cancelCommand cancels a command, if there is one to cancel, and shows ^C
// before any output that follows from it.
func (t *tty) cancelCommand(command context.CancelFunc) {
	if command == nil {
		return
	}
	// A client that takes no output must not keep its command alive.
	late := time.AfterFunc(200*time.Millisecond, command)
	t.out.Lock()
	defer t.out.Unlock()
	late.Stop()
	command()
	t.midLine = false
	_, _ = t.wire.Write([]byte("^C\r\n"))
}

// attach gives the terminal to a command: Ctrl-C cancels it, also one that was
// typed ahead.
func (t *tty) attach(interrupt context.CancelFunc) {
	t.mu.Lock()
	t.interrupt = interrupt
	now := t.findCtrlC()
	t.mu.Unlock()
	t.cancelCommand(now)
}

// detach takes the terminal back from a command that ended.
func (t *tty) detach() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interrupt, t.raw = nil, false
	t.wakeAll()
}

func (t *tty) setRaw(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raw = on
	t.wakeAll()
}

// resize notes the window's size; zero stands for the usual one.
func (t *tty) resize(columns, rows uint32) {
	if columns == 0 || rows == 0 {
		columns, rows = 80, 24
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.width, t.height = int(min(columns, maxCells)), int(min(rows, maxCells))
	t.wakeAll()
	select {
	case t.resized <- struct{}{}:
	default:
	}
}

func (t *tty) size() (width, height int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.width, t.height
}

// wakeAll wakes everybody who waits; t.mu is held.
func (t *tty) wakeAll() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// await gives up t.mu until something changed, ctx ended, or it is late.
func (t *tty) await(ctx context.Context, late <-chan time.Time) error {
	changed := t.changed
	t.mu.Unlock()
	defer t.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return errIdle
	}
}

// Write prints the output of commands, above the line that is being edited.
func (t *tty) Write(p []byte) (int, error) {
	t.mu.Lock()
	raw := t.raw
	t.mu.Unlock()
	t.out.Lock()
	defer t.out.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	t.midLine = p[len(p)-1] != '\n' && !bytes.HasSuffix(p, []byte("\r\x1b[K")) // that leaves an empty line
	if raw {
		return t.wire.Write(p)
	}
	if t.editing != nil {
		return t.editing.above(p)
	}
	if _, err := t.wire.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// notice prints lines of their own, also into the screen of a command that has
// the terminal in raw mode.
func (t *tty) notice(line string) {
	t.mu.Lock()
	raw := t.raw
	t.mu.Unlock()
	if raw {
		line = "\r\n" + strings.ReplaceAll(line, "\n", "\r\n") + "\r"
	}
	_, _ = io.WriteString(t, line+"\n")
}

// clear empties the screen, and what scrolled out of it.
func (t *tty) clear() {
	t.out.Lock()
	defer t.out.Unlock()
	t.midLine = false
	_, _ = t.wire.Write([]byte("\x1b[H\x1b[2J\x1b[3J"))
}

// freshLine ends a line that output left open, so that the editor knows where
// it is.
func (t *tty) freshLine() {
	t.out.Lock()
	defer t.out.Unlock()
	if t.midLine {
		t.midLine = false
		_, _ = t.wire.Write([]byte("\r\n"))
	}
}

// edit has the user edit a line until Enter.
func (t *tty) edit(e *editor) (string, error) {
	select {
	case t.editLock <- struct{}{}:
		defer func() { <-t.editLock }()
	case <-e.ctx.Done(): // left over from a command that ended
		return "", e.ctx.Err()
	}
	t.setEditing(e.screen)
	defer t.setEditing(nil)
	return e.term.ReadLine()
}

func (t *tty) setEditing(s *screen) {
	t.out.Lock()
	defer t.out.Unlock()
	t.editing, t.midLine = s, false
}

// ask asks the user for a line. The line editor knows prompts of one line
// only: what comes before is printed.
func (t *tty) ask(ctx context.Context, prompt string) (string, error) {
	if i := strings.LastIndexByte(prompt, '\n'); i >= 0 {
		_, _ = io.WriteString(t, prompt[:i+1])
		prompt = prompt[i+1:]
	}
	t.freshLine()
	line, err := t.edit(newEditor(ctx, t, prompt))
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return line, err
}
