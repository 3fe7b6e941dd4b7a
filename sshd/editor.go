package sshd

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/term"
)

// maxTyped is how many characters x/term takes for one line; it ignores more.
const maxTyped = 4096

// editor edits lines on a tty. It stands between that and x/term, which it
// gives one line's keys and no more: what was typed after Enter is for whoever
// reads next.
type editor struct {
	ctx       context.Context
	tty       *tty
	*screen   // what x/term draws on
	term      *term.Terminal
	keys      keyDecoder
	decoded   []byte        // keys for x/term that it had no room for
	idle      time.Duration // how long it waits for the next key; 0: for ever
	lineBegun bool          // that something was typed since Enter
}

func newEditor(ctx context.Context, t *tty, prompt string) *editor {
	e := &editor{ctx: ctx, tty: t, screen: newScreen(t)}
	e.term = term.NewTerminal(e, prompt)
	e.term.History = noHistory{}
	e.fitWindow()
	return e
}

// fitWindow tells x/term how wide the window is.
func (e *editor) fitWindow() {
	width, height := e.tty.size()
	e.screen.resize(width)
	_ = e.term.SetSize(width, height)
}

// Read gives x/term the next keys.
func (e *editor) Read(p []byte) (int, error) {
	for len(e.decoded) == 0 {
		if err := e.readKeys(); err != nil {
			return 0, err
		}
		e.fitWindow()
	}
	n := copy(p, e.decoded)
	e.decoded = e.decoded[n:]
	return n, nil
}

// mostTabs is how many Tabs in a row that wait to be read are of use: the first completes,
// the second lists what there is.
const mostTabs = 2

// readKeys waits for something typed, or a change of the window.
func (e *editor) readKeys() error {
	t := e.tty
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.typed) == 0 && !t.ended {
		var late <-chan time.Time
		if e.idle > 0 {
			late = time.After(e.idle)
		}
		if err := t.await(e.ctx, late); err != nil {
			return err
		}
	}
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if len(t.typed) == 0 && t.ended {
		if !e.lineBegun {
			return io.EOF
		}
		t.typed = []byte{'\r'} // for a last line that nothing ends
	}
	tabs := 0 // in a row
	for line := false; len(t.typed) > 0 && !line; {
		b := t.typed[0]
		t.typed = t.typed[1:]
		if b != '\t' {
			tabs = 0
		} else if tabs++; tabs > mostTabs {
			continue
		}
		if b == '\n' && t.afterCR {
			t.afterCR = false
			continue
		}
		t.afterCR = b == '\r'
		e.decoded = append(e.decoded, e.keys.decode(b)...)
		line = e.keys.enter
		e.lineBegun = !line
	}
	return nil
}

var (
	sequence = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	left     = regexp.MustCompile(`^\x1b\[([0-9]*)D$`)
)

// plain is what x/term draws, for a terminal that knows no escape sequences:
// moves to the left are backspaces, all others are left out.
func plain(p []byte) []byte {
	return sequence.ReplaceAllFunc(p, func(s []byte) []byte {
		m := left.FindSubmatch(s)
		if m == nil {
			return nil
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			n = 1
		}
		return bytes.Repeat([]byte{'\b'}, min(n, maxCells))
	})
}

// noHistory is for answers to questions.
type noHistory struct{}

func (noHistory) Add(string)    {}
func (noHistory) Len() int      { return 0 }
func (noHistory) At(int) string { return "" }
