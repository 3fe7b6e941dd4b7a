package sim

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/clipperhouse/displaywidth"
)

// errInterrupted is what reading a terminal fails with after Ctrl-C.
var errInterrupted = errors.New("interrupted")

const (
	widest = 4 << 10 // bytes of a line that is typed
	ahead  = 256     // lines that were typed and not read yet
	bell   = "\a"
)

// Bytes that a terminal sends for keys.
const (
	ctrlC     = 0x03
	ctrlD     = 0x04
	ctrlU     = 0x15
	backspace = 0x08
	escape    = 0x1b
	rubout    = 0x7f
)

// tty is a terminal as a kernel presents it: what is typed is echoed and can be
// edited until the line ends; only then it can be read. A program reads on
// after an end of input (Ctrl-D).
type tty struct {
	channel io.ReadWriter // its Write turns \n into \r\n

	mu          sync.Mutex // guards what follows, and writing
	change      *sync.Cond
	line        []byte   // being typed
	lines       [][]byte // typed, not read; an empty one is an end of input
	closed      bool     // the client will type no more
	interrupted bool     // Ctrl-C was typed, and nobody was told
	interrupt   context.CancelFunc
	sequence    byte // of a function key: the byte that it is at, or 0
}

func newTTY(channel io.ReadWriter) *tty {
	t := &tty{channel: channel}
	t.change = sync.NewCond(&t.mu)
	return t
}

// foreground says what Ctrl-C does from now on: it calls interrupt, or with nil
// makes Read fail.
func (t *tty) foreground(interrupt context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interrupt, t.interrupted = interrupt, false
}

// Read returns at most one line, and io.EOF for each end of input.
func (t *tty) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.lines) == 0 && !t.closed && !t.interrupted {
		t.change.Wait()
	}
	if t.interrupted {
		t.interrupted = false
		return 0, errInterrupted
	}
	if len(t.lines) == 0 {
		return 0, io.EOF
	}
	n := copy(p, t.lines[0])
	if t.lines[0] = t.lines[0][n:]; len(t.lines[0]) == 0 {
		t.lines = t.lines[1:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write shows p.
func (t *tty) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.channel.Write(p)
}

// listen takes what is typed until the channel ends.
func (t *tty) listen() {
	buf := make([]byte, 1024)
	for {
		n, err := t.channel.Read(buf)
		t.typed(buf[:n])
		if err != nil {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.change.Broadcast()
}

// typed takes keys and shows their echo, before anybody can answer them.
func (t *tty) typed(keys []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var echo []byte
	for _, b := range keys {
		echo = append(echo, t.key(b)...)
	}
	if len(echo) > 0 {
		// An error means that the client is gone, which listen finds out.
		_, _ = t.channel.Write(echo)
	}
}

// key takes one byte and returns its echo.
func (t *tty) key(b byte) string {
	if t.skip(b) {
		return ""
	}
	switch b {
	case ctrlC:
		t.line, t.lines = nil, nil
		t.interrupted = true
		if t.interrupt != nil {
			t.interrupt()
		}
		t.change.Broadcast()
		return "^C\n"
	case ctrlD:
		return t.enter("")
	case '\r', '\n':
		return t.enter("\n")
	case backspace, rubout:
		if len(t.line) == 0 {
			return ""
		}
		last := 0
		for all := displaywidth.BytesGraphemes(t.line); all.Next(); {
			last = len(all.Value())
		}
		return t.erase(last)
	case ctrlU:
		return t.erase(len(t.line))
	}
	if b < ' ' {
		return ""
	}
	if len(t.line) >= widest {
		return bell
	}
	t.line = append(t.line, b)
	return string([]byte{b})
}

// erase takes away the last n bytes of the line that is typed, and returns what takes them
// from the screen.
func (t *tty) erase(n int) string {
	shown := displaywidth.Bytes(t.line)
	t.line = t.line[:len(t.line)-n]
	return strings.Repeat("\b \b", max(0, shown-displaywidth.Bytes(t.line)))
}

// enter makes the line that is typed readable and returns its echo, the end.
func (t *tty) enter(end string) string {
	if len(t.lines) >= ahead {
		return bell
	}
	t.lines = append(t.lines, append(t.line, end...))
	t.line = nil
	t.change.Broadcast()
	return end
}

// skip reports whether b belongs to a function key, as in ESC [ A or ESC O P.
func (t *tty) skip(b byte) bool {
	switch {
	case b < ' ' && b != escape:
		t.sequence = 0
		return false
	case b == escape:
		t.sequence = escape
	case t.sequence == escape && (b == '[' || b == 'O'):
		t.sequence = b
	case t.sequence == '[' && (b < '@' || b > '~'): // a parameter of it
	case t.sequence != 0:
		t.sequence = 0
	default:
		return false
	}
	return true
}
