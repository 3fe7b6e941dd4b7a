package sshd

import (
	"context"
	"io"
)

// ttyInput is the standard input of one command on a terminal.
type ttyInput struct {
	*tty
	ctx  context.Context // the command's: it must not take what is typed after it
	rest string          // of a line
}

// Read returns what is typed: in raw mode as it comes, otherwise by lines that
// can be edited, Ctrl-D being the end.
func (t *ttyInput) Read(p []byte) (int, error) {
	if t.rest == "" {
		n, raw, err := t.readRaw(p)
		if raw || err != nil {
			return n, err
		}
		line, err := t.edit(newEditor(t.ctx, t.tty, ""))
		if err != nil {
			return 0, err
		}
		t.rest = line + "\n"
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// readRaw reads in raw mode, and does nothing otherwise.
func (t *ttyInput) readRaw(p []byte) (n int, raw bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.raw && len(t.typed) == 0 {
		if t.ended {
			return 0, true, io.EOF
		}
		if err := t.await(t.ctx, nil); err != nil {
			return 0, true, err
		}
	}
	if !t.raw {
		return 0, false, nil
	}
	n = copy(p, t.typed)
	t.typed = t.typed[n:]
	t.wakeAll()
	return n, true, nil
}
