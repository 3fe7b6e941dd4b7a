// Package fault holds the errors that are meant for users: a sentence that
// names the thing it is about, a hint that says what to do next, and a kind
// that decides the exit status. Any other error is internal: its text never
// reaches a user. It imports nothing of the project.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says why something was not done. The zero Kind is not a fault.
type Kind int

const (
	// Failed: it could not be done.
	Failed Kind = iota + 1
	// Usage: the request itself is malformed.
	Usage
	// InUse: a teammate would be disturbed, or too little is free; nothing
	// changed and the same request may succeed later.
	InUse
	// Interrupted: the user or a lost connection cancelled it.
	Interrupted
)

// Error is one answer to a user. Msg is a sentence without a final period;
// Hint, if any, says what to do next, one or more lines.
type Error struct {
	Kind Kind
	Msg  string
	Hint string
}

func (e *Error) Error() string { return e.Msg }

// New makes an Error of the kind.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Msg: fmt.Sprintf(format, args...)}
}

// Failedf says that something could not be done.
func Failedf(format string, args ...any) *Error { return New(Failed, format, args...) }

// Usagef says that a request is malformed.
func Usagef(format string, args ...any) *Error { return New(Usage, format, args...) }

// WithHint returns a copy of e that says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Line is an error on one line: what is wrong and, if it is for users and tells that, what
// to do next.
func Line(err error) string {
	f := As(err)
	if f == nil || f.Hint == "" {
		return err.Error()
	}
	return err.Error() + "; " + strings.ReplaceAll(f.Hint, "\n", "; ")
}

// As returns the Error in err's chain, or nil when err is internal.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}
