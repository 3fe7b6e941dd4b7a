package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// board is one whose serial line is a port of TCP, as that of ser2net.
type board struct {
	net.Listener

	mu    sync.Mutex
	peer  net.Conn // nil: nobody
	heard strings.Builder
	read  int // how much of that the story asked for
}

// boardWord is the word "board".
func (s *story) boardWord(ts *testscript.TestScript, _ bool, args []string) error {
	name, b := args[0], s.boards[args[0]]
	if args[1] == "new" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		b = &board{Listener: l}
		s.boards[name] = b
		ts.Defer(func() {
			l.Close()
			_ = b.hangUp()
		})
		ts.Setenv(name, "tcp://"+l.Addr().String())
		go b.serve() // ends with the listener
		return nil
	}
	if b == nil {
		return fmt.Errorf("there is no board %s", name)
	}
	text, err := strconv.Unquote(`"` + strings.Join(args[2:], " ") + `"`)
	if err != nil {
		return err
	}
	switch args[1] {
	case "says":
		return eventually(func() error { return b.says(text) })
	case "hears":
		return eventually(func() error { return b.hears(text) })
	case "hangs-up":
		return b.hangUp()
	}
	return fmt.Errorf("board: what is %q?", args[1])
}

// serve listens to one server after the other.
func (b *board) serve() {
	for {
		peer, err := b.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.peer = peer
		b.mu.Unlock()
		for p := make([]byte, 1<<10); ; {
			n, err := peer.Read(p)
			b.mu.Lock()
			b.heard.Write(p[:n])
			b.mu.Unlock()
			if err != nil {
				break
			}
		}
		_ = b.hangUp()
	}
}

func (b *board) says(text string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return errors.New("nobody listens to the board")
	}
	_, err := io.WriteString(b.peer, text)
	return err
}

func (b *board) hears(text string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := strings.Index(b.heard.String()[b.read:], text)
	if found < 0 {
		return fmt.Errorf("the board heard %q, and no %q", b.heard.String()[b.read:], text)
	}
	b.read += found + len(text)
	return nil
}

// hangUp ends the connection; the server makes another.
func (b *board) hangUp() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer == nil {
		return nil
	}
	defer func() { b.peer = nil }()
	return b.peer.Close()
}
