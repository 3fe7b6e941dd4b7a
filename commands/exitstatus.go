package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"walt/fault"
)

// Exit statuses of a command line. Topic "ci" tells users of them.
const (
	StatusDone        = 0
	StatusFailed      = 1
	StatusUsage       = 2   // the line itself is wrong
	StatusInUse       = 3   // nothing changed, and the same line may succeed later
	StatusInternal    = 70  // EX_SOFTWARE of sysexits.h: the cause is in the server's log
	StatusInterrupted = 130 // as a shell says of SIGINT
)

// StatusOf is the one place where the kind of an error becomes an exit status,
// also of waltd.
func StatusOf(kind fault.Kind) int {
	switch kind {
	case fault.Usage:
		return StatusUsage
	case fault.InUse:
		return StatusInUse
	case fault.Interrupted:
		return StatusInterrupted
	}
	return StatusFailed
}

// passedOn is a fault whose exit status is that of a program on a node.
type passedOn struct {
	fault  *fault.Error
	status int
	seen   bool // by who sat there: nothing is said of it
}

func (p passedOn) Error() string { return p.fault.Error() }

func (p passedOn) Unwrap() error { return p.fault }

// Internal logs what no user can do anything about, with a reference that the
// user gets instead, and returns the exit status.
func Internal(w io.Writer, log *slog.Logger, what string, details ...any) int {
	ref := rand.Text()[:8]
	log.Error(what, append([]any{"ref", ref}, details...)...)
	fmt.Fprintf(w, "walt: something went wrong on the server; an administrator finds the cause in its log under %s\n", ref)
	return StatusInternal
}

// report prints an error for the user and returns the exit status.
func (a *App) report(ctx context.Context, s *Session, line string, err error) int {
	if err == nil {
		return StatusDone
	}
	passed, ended := errors.AsType[passedOn](err)
	if passed.seen {
		return passed.status
	}
	f := fault.As(err)
	if f == nil && ctx.Err() != nil {
		f = fault.As(context.Cause(ctx)) // why the session ends
	}
	if f == nil && ctx.Err() != nil {
		if s.Terminal != nil { // it shows the ^C already
			return StatusInterrupted
		}
		f = fault.New(fault.Interrupted, "interrupted")
	}
	if f == nil {
		details := []any{"user", s.User, "line", Conceal(line), "err", err}
		if f = fault.Disk(err); f == nil {
			return Internal(s.Err, a.Log, "command failed", details...)
		}
		a.Log.Error("command failed", details...)
	}
	a.Tell(s, "walt: "+clean(f.Msg)+"\n")
	for hint := range strings.Lines(f.Hint) {
		a.Tell(s, "  "+clean(strings.TrimSuffix(hint, "\n"))+"\n")
	}
	if ended {
		return passed.status
	}
	return StatusOf(f.Kind)
}
