package sshd

import (
	"io"
	"strings"
	"testing"
	"time"
)

// Of Tabs that wait to be read, two in a row are of use.
func TestWaitingTabs(t *testing.T) {
	t.Parallel()
	typed := newTTY(t.Context(), strings.NewReader(""), io.Discard, "xterm")
	e := newEditor(t.Context(), typed, "> ")
	for keys, want := range map[string]string{
		"echo r\t": "echo r\t", "echo r\t\t": "echo r\t\t", "echo r" + strings.Repeat("\t", 1000): "echo r\t\t",
		"\t\t\tx\t\t\t\ty\r": "\t\tx\t\ty\r",
	} {
		typed.typed = []byte(keys)
		if err := e.readKeys(); err != nil || string(e.decoded) != want {
			t.Errorf("of %.20q the editor gets %q, %v, want %q", keys, e.decoded, err, want)
		}
		e.decoded = nil
	}
}

// Tabs of many are worked on by a part of the processors, one after the other.
func TestCompletionsTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var all []*running
	for range 4 {
		all = append(all, shellOf(t, l))
	}
	for _, r := range all {
		r.send("echo slow\t")
	}
	for end := time.Now().Add(soon); l.run.completed.Load() < int64(len(all)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d Tabs were answered", l.run.completed.Load(), len(all))
		}
	}
	if most := l.run.mostCompleting.Load(); most > int64(cap(l.completing)) {
		t.Errorf("%d completions at once, want %d at most", most, cap(l.completing))
	}
}
