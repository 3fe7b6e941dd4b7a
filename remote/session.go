package remote

import (
	"errors"
	"io"

	"golang.org/x/crypto/ssh"
)

// Session is a command or a shell on a node.
type Session struct {
	Command  string // "" for a shell
	In       io.Reader
	Out, Err io.Writer
	Terminal *Terminal // nil for none
}

// Terminal is the one that the user sits at.
type Terminal struct {
	Name    string                     // as in TERM
	Size    func() (width, height int) // in character cells
	Resized <-chan struct{}
}

func (s Session) run(client *ssh.Client) (status int, err error) {
	there, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	defer there.Close()
	// The library's own copying of input would wait, at the end, for one more
	// byte of a user who types none.
	stdin, err := there.StdinPipe()
	if err != nil {
		return 0, err
	}
	there.Stdout, there.Stderr = s.Out, s.Err
	if t := s.Terminal; t != nil {
		width, height := t.Size()
		if err := there.RequestPty(t.Name, height, width, ssh.TerminalModes{}); err != nil {
			return 0, err
		}
		done := make(chan struct{})
		defer close(done)
		go t.follow(there, done) // ends with run
	}
	if s.Command == "" {
		err = there.Shell()
	} else {
		err = there.Start(s.Command)
	}
	if err != nil {
		return 0, err
	}
	go func() { // ends when the user's input does, or at the first of it after the session
		io.Copy(stdin, s.In)
		stdin.Close()
	}()
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch err := there.Wait(); {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case errors.As(err, &missing):
		return 0, ErrEnded
	default:
		return 0, err
	}
}

// follow tells the node of each change of the terminal's size.
func (t *Terminal) follow(there *ssh.Session, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-t.Resized:
			width, height := t.Size()
			if err := there.WindowChange(height, width); err != nil {
				return
			}
		}
	}
}
