package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// Exit statuses that a shell gives by itself, as POSIX has them.
const (
	statusSyntax      = 2
	statusNotFound    = 127
	statusInterrupted = 130
)

// longest is how many bytes a line of a script may have.
const longest = 64 << 10

// shell runs command lines on a machine for one session. The machine's files
// cannot be changed, so all that it has of its own is where it is.
type shell struct {
	node *machine
	tty  *tty // nil for a session without a terminal
	in   *bufio.Reader
	out  *bufio.Writer // flushed after each command, and before err is written
	err  io.Writer

	dir     string // absolute
	status  int    // of the last command
	exits   bool   // the shell was told to end
	reboots bool   // the machine was told to boot again
}

// interact runs the lines of the input until it ends or the shell is told to.
func (sh *shell) interact(ctx context.Context) {
	for !sh.exits && ctx.Err() == nil {
		if sh.tty != nil {
			fmt.Fprintf(sh.tty, "root@%s:%s# ", sh.node.name, sh.dir)
		}
		line, err := sh.line()
		switch {
		case errors.Is(err, errInterrupted):
			sh.status = statusInterrupted
		case err != nil && !errors.Is(err, io.EOF):
			sh.complain("sh: %v", err)
			sh.status = statusSyntax
		case err != nil && line == "":
			if sh.tty != nil {
				fmt.Fprintln(sh.tty)
			}
			return
		default:
			sh.run(ctx, line)
		}
	}
}

// line reads the next line of the input; the last one may lack its end. Of one
// that is too long nothing is kept.
func (sh *shell) line() (string, error) {
	var line []byte
	for {
		part, err := sh.in.ReadSlice('\n')
		if len(line) <= longest {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case len(line) > longest:
			return "", errors.New("line too long")
		default:
			return string(line), err
		}
	}
}

// run runs a command line and sets the status. On a terminal, Ctrl-C ends it.
func (sh *shell) run(ctx context.Context, line string) {
	steps, err := parse(line)
	if err != nil {
		sh.complain("sh: syntax error: %v", err)
		sh.status = statusSyntax
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if sh.tty != nil {
		sh.tty.foreground(cancel)
		defer sh.tty.foreground(nil)
	}
	for _, s := range steps {
		if !s.runs(sh.status) {
			continue
		}
		sh.status = sh.step(ctx, s)
		// An error means that the client is gone, which ends ctx.
		_ = sh.out.Flush()
		if ctx.Err() != nil {
			sh.status = statusInterrupted
			return
		}
		if sh.exits {
			return
		}
	}
}

// step runs one command and returns its status.
func (sh *shell) step(ctx context.Context, s step) int {
	if s.into != "" {
		sh.complain("sh: can't create %s: %s", s.into, sh.reason(syscall.EROFS))
		return 1
	}
	run := program(s.words[0])
	if run == nil {
		sh.complain("sh: %s: command not found", s.words[0])
		return statusNotFound
	}
	return run(sh, ctx, s.words[1:])
}

// complain writes a line to the error stream, after what was written before.
// Errors mean that the client is gone, which ends the session anyway.
func (sh *shell) complain(format string, args ...any) {
	_ = sh.out.Flush()
	_, _ = fmt.Fprintf(sh.err, format+"\n", args...)
}

// abs returns the absolute path of a name that was typed.
func (sh *shell) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(sh.dir, name)
}

// inside returns the name that a path of the machine has in its file system.
func inside(abs string) string {
	if abs == "/" {
		return "."
	}
	return abs[1:]
}

// home is where shells begin.
func (m *machine) home() string {
	if info, err := fs.Stat(m.files, "root"); err == nil && info.IsDir() {
		return "/root"
	}
	return "/"
}

// reason is an error of a file in the words of a Unix program. What a user of
// the node can do nothing about goes to the log.
func (sh *shell) reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
	case errors.Is(err, fs.ErrNotExist):
		errno = syscall.ENOENT
	case errors.Is(err, fs.ErrPermission):
		errno = syscall.EACCES
	case errors.Is(err, fs.ErrInvalid):
		errno = syscall.EINVAL
	default:
		sh.node.log.Error("read a file of the image", "err", err)
		errno = syscall.EIO
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
