package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	moby "github.com/moby/moby/client"

	"walt/images/content"
)

// Error is why a location did not do what it was asked, in words for users.
type Error struct {
	Msg  string // a clause that names the location
	Hint string // what may help, or ""
	// Found is set when the location has the image, but it cannot be used.
	Found bool
	// Absent is set when the location answered that it does not have the image.
	Absent bool
	Err    error // what happened, or nil
}

func (e *Error) Error() string { return e.Msg }
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrNotRunning says that nobody listens at the address of the docker daemon.
	ErrNotRunning = errors.New("nobody listens")
	// ErrSlow is the cause of a context that gives a location no more time.
	ErrSlow = errors.New("took too long")

	// errDenied says that the server may not use the socket of the docker daemon.
	errDenied = errors.New("no right to connect")
	// errHidden says that a registry gave a token to everybody, and then refused
	// it: Docker Hub answers so for what is private and for what it does not have.
	errHidden = errors.New("hidden or not there")
)

// Unusable says that the image that a location has cannot be used.
func Unusable(at fmt.Stringer, format string, args ...any) *Error {
	return &Error{
		Msg:   fmt.Sprintf("the one in %s ", at) + fmt.Sprintf(format, args...),
		Hint:  "whoever built it has to build and publish it again",
		Found: true,
	}
}

// explain puts an error of talking to the registry, or of storing what it sent,
// into words. One that is no business of users, and the end of ctx, stay as they are.
func (r *Registry) explain(ctx context.Context, err error) error {
	if e, done := common(ctx, r, err); done {
		return e
	}
	if e, ok := errors.AsType[*answerError](err); ok {
		return r.refusal(e)
	}
	if errors.Is(err, errHidden) {
		return &Error{Msg: r.String() + " does not have it, or shows it only to who has a password", Absent: true}
	}
	if _, local := errors.AsType[*fs.PathError](err); local && network(r.String(), err) == nil {
		return err
	}
	return r.trouble(r.String(), err)
}

// trouble explains why a server of the registry's, called at, gave no answer.
func (r *Registry) trouble(at string, err error) *Error {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{
			Msg:  fmt.Sprintf("%s has a certificate that is not trusted: %s", at, distrust(e.Err)),
			Hint: fmt.Sprintf("an administrator can name the authority that signed it as ca_file of the registry %s", r.label),
		}
	}
	if e := network(at, err); e != nil {
		return e
	}
	return &Error{
		Msg:  fmt.Sprintf("%s cannot be reached: %s", at, unreachable(err)),
		Hint: "check that it runs, and its address in the configuration",
	}
}

// explainPush is explain for an error of publishing.
func (r *Registry) explainPush(ctx context.Context, err error) error {
	e, ok := errors.AsType[*answerError](err)
	if !ok || ctx.Err() != nil {
		return r.explain(ctx, err)
	}
	hint := "an administrator can set username and password_file of the registry " + r.label
	if e.host != r.server.host {
		return r.refusal(e)
	}
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if r.username == "" {
			return &Error{Msg: r.String() + " needs a password", Hint: hint}
		}
		return &Error{Msg: r.String() + " refuses the user name or the password, or does not let that user publish under this name", Hint: hint}
	case http.StatusMethodNotAllowed:
		return &Error{Msg: r.String() + " is read-only", Hint: "choose another with --registry LABEL"}
	case http.StatusNotFound:
		return &Error{Msg: r.String() + " has no such place", Hint: "check its address in the configuration"}
	case http.StatusRequestEntityTooLarge:
		return &Error{Msg: r.String() + " does not take layers of that size", Hint: "its limit, or that of a proxy before it, must be raised"}
	case http.StatusInsufficientStorage:
		return &Error{Msg: r.String() + " has no room left", Hint: "an administrator must make room there"}
	}
	return r.refusal(e)
}

// refusal explains an answer.
func (r *Registry) refusal(e *answerError) *Error {
	if e.host != r.server.host {
		return &Error{Msg: fmt.Sprintf("%s sends this server to %s, which %s", r, e.host, e.words()), Hint: "whoever runs the registry has to look after that; or try again later"}
	}
	switch e.status {
	case http.StatusNotFound:
		return &Error{Msg: r.String() + " does not have it", Absent: true}
	case http.StatusUnauthorized, http.StatusForbidden:
		hint := "an administrator can set username and password_file of the registry " + r.label
		if r.username == "" {
			return &Error{Msg: r.String() + " needs a password", Hint: hint}
		}
		return &Error{Msg: r.String() + " refuses the user name or the password", Hint: hint}
	}
	return &Error{Msg: r.String() + " " + e.words(), Hint: "try again later"}
}

// words says of who answered what that was.
func (e *answerError) words() string {
	words := strings.TrimSpace(fmt.Sprintf("answered %d %s", e.status, http.StatusText(e.status)))
	if e.status == http.StatusTooManyRequests {
		words = "has had too many requests"
	}
	if e.after > 0 {
		words += fmt.Sprintf(", and asks to wait %v", e.after)
	}
	return words
}

// explain puts an error of talking to the docker daemon into words, as that of a
// Registry does.
func (d *Daemon) explain(ctx context.Context, err error) error {
	if e, done := common(ctx, d, err); done {
		return e
	}
	switch {
	case errdefs.IsNotFound(err):
		return &Error{Msg: d.String() + " does not have it", Absent: true}
	case errors.Is(err, ErrNotRunning):
		return &Error{Msg: d.String() + " does not run", Hint: "an administrator can start it, or name another in [docker] of the configuration", Err: err}
	case errors.Is(err, errDenied):
		return &Error{Msg: d.String() + " may not be used by this server", Hint: "an administrator can give the user of the server the right to: usermod -aG docker USER"}
	}
	if e := network(d.String(), err); e != nil {
		return e
	}
	if moby.IsErrConnectionFailed(err) {
		return &Error{Msg: d.String() + " cannot be reached: " + unreachable(err), Hint: "check that it runs, and its address in the configuration"}
	}
	return err
}

// common deals with the errors that need no explanation: none, those that have
// one, and the end of ctx, unless it is that the location was too slow.
func common(ctx context.Context, at fmt.Stringer, err error) (_ error, done bool) {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil, true
	case errors.Is(cause, ErrSlow):
		return &Error{Msg: at.String() + " did not answer all that it was asked in time", Hint: "try again later, or ask for less"}, true
	case cause != nil:
		return cause, true
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e, true
	}
	return nil, false
}

// network explains what any location may do, or is nil.
func network(at string, err error) *Error {
	if full := content.DiskFull(err); full != nil {
		return &Error{Msg: full.Msg, Hint: full.Hint}
	}
	switch {
	case errors.Is(err, content.ErrMismatch):
		return &Error{
			Msg:   fmt.Sprintf("%s sent something else than asked for (%v)", at, err),
			Hint:  "the copy there, or the way to it, is damaged: publish the image there again",
			Found: true, Err: err,
		}
	case errors.Is(err, errStalled):
		return &Error{Msg: at + " does not answer" + doing(err), Hint: "try again later"}
	case errors.Is(err, http.ErrSchemeMismatch):
		return &Error{Msg: at + " does not speak https", Hint: "its address may have to begin with http://"}
	case broken(err):
		return &Error{Msg: at + " broke the connection" + doing(err), Hint: "try again: what is complete is kept"}
	}
	return nil
}

// doing says at which step an error came, or nothing.
func doing(err error) string {
	e, ok := errors.AsType[*stepError](err)
	for ok { // the innermost one knows best
		inner, deeper := errors.AsType[*stepError](e.err)
		if !deeper {
			return " while " + e.step
		}
		e = inner
	}
	return ""
}

func distrust(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "an unknown authority signed it"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "it has expired or is not valid yet"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "it is for another name"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// unreachable is the innermost sentence of a network error, without the
// addresses and URLs that the layers above it added.
func unreachable(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the host name %s is not known", e.Name)
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "the connection timed out"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		err = e
	}
	return err.Error()
}
