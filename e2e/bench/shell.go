//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// shell is a user's shell on a terminal.
type shell struct {
	in io.Writer

	mu   sync.Mutex
	said strings.Builder
	more chan struct{} // has a value when there is more
}

func newShell(c *ssh.Client) (*shell, error) {
	session, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	sh := &shell{more: make(chan struct{}, 1)}
	session.Stdout = sh
	if sh.in, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if err := session.RequestPty("xterm", 24, 200, ssh.TerminalModes{}); err != nil {
		return nil, err
	}
	return sh, session.Shell()
}

func (sh *shell) Write(p []byte) (int, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.said.Write(p)
	select {
	case sh.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// complete types the beginning of a line and returns how long after Tab the rest of
// its last word is there; the line is erased then.
func (sh *shell) complete(begin, word string) (time.Duration, error) {
	if err := sh.types(begin, begin[strings.LastIndexByte(begin, ' ')+1:]); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := sh.types("\t", word[len(word)-3:]); err != nil {
		return 0, err
	}
	taken := time.Since(start)
	_, err := io.WriteString(sh.in, "\x15") // Ctrl-U
	return taken, err
}

// types types a text and waits until the server showed another one.
func (sh *shell) types(text, shown string) error {
	sh.mu.Lock()
	sh.said.Reset()
	sh.mu.Unlock()
	if _, err := io.WriteString(sh.in, text); err != nil {
		return err
	}
	deadline := time.After(20 * time.Second)
	for {
		sh.mu.Lock()
		said := sh.said.String()
		sh.mu.Unlock()
		if strings.Contains(said, shown) {
			return nil
		}
		select {
		case <-sh.more:
		case <-deadline:
			return fmt.Errorf("typed %q, and %q is not shown: %q", text, shown, said)
		}
	}
}
