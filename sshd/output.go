package sshd

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// stream is one direction of a channel. Its lock is needed because the library
// lets only one goroutine write at a time.
type stream struct {
	mu     sync.Mutex
	w      io.Writer
	unread *atomic.Bool // nobody reads what is written; nil: somebody does
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread != nil && s.unread.Load() {
		return 0, io.ErrClosedPipe
	}
	return s.w.Write(p)
}

// printable is a text that a client chose, made fit for logs and terminals:
// without control characters and not longer than limit.
func printable(text string, limit int) string {
	text = strings.ToValidUTF8(text[:min(len(text), limit)], "?")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
