package images

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"walt/fault"
)

// trouble is why a location did not give an image: a clause for the user's
// message, and what may help.
type trouble struct {
	msg  string
	hint string
}

func (t trouble) Error() string { return t.msg }

// cannot makes one fault of what happened in the locations that were asked: done
// is what could not be done with an image.
func cannot(done string, image fmt.Stringer, all []trouble) error {
	var msgs, hints []string
	for _, t := range all {
		msgs = append(msgs, t.msg)
		if t.hint != "" {
			hints = append(hints, t.hint)
		}
	}
	if len(hints) == 0 && done == "downloaded" {
		hints = []string{"see what there is with: image search"}
	}
	return fault.Failedf("the image %s cannot be %s: %s", image, done, strings.Join(msgs, "; ")).WithHint("%s", strings.Join(hints, "\n"))
}

// explain puts an error of talking to the registry, or of storing what it
// sent, into words. It returns false for an error that is no business of users.
func (s *source) explain(err error) (trouble, bool) {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return s.refusal(e.StatusCode), true
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return trouble{
			fmt.Sprintf("%s has a certificate that is not trusted: %s", s, distrust(e.Err)),
			fmt.Sprintf("an administrator can name the authority that signed it as ca_file of the registry %s", s.label),
		}, true
	}
	if t, ok := explain(s, err); ok {
		return t, true
	}
	if errors.Is(err, errHidden) {
		return trouble{s.String() + " does not have it, or shows it only to who has a password", ""}, true
	}
	if _, local := errors.AsType[*fs.PathError](err); local {
		return trouble{}, false
	}
	return trouble{
		fmt.Sprintf("%s cannot be reached: %s", s, unreachable(err)),
		"check that it runs, and its address in the configuration",
	}, true
}

// explain is what every location may say.
func explain(at location, err error) (trouble, bool) {
	if t, ok := errors.AsType[trouble](err); ok {
		return t, true
	}
	switch {
	case diskFull(err):
		return trouble{fullMsg, fullHint}, true
	case errors.Is(err, errContent):
		return trouble{
			fmt.Sprintf("%s sent something else than asked for (%v)", at, err),
			"the copy there, or the way to it, is damaged: publish the image there again",
		}, true
	case errors.Is(err, errStalled):
		return trouble{at.String() + " does not answer", "try again later"}, true
	case errors.Is(err, errSlow):
		return trouble{at.String() + " did not answer all that it was asked in time", "try again later, or ask for less"}, true
	case errors.Is(err, http.ErrSchemeMismatch):
		return trouble{at.String() + " does not speak https", "its address may have to begin with http://"}, true
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return trouble{at.String() + " broke the connection", "try again: what is complete is kept"}, true
	}
	return trouble{}, false
}

const (
	fullMsg  = "the disk for images of this server is full"
	fullHint = "an administrator must make room on it"
)

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// refusal explains the HTTP status of an answer.
func (s *source) refusal(status int) trouble {
	switch status {
	case http.StatusNotFound:
		return trouble{s.String() + " does not have it", ""}
	case http.StatusUnauthorized, http.StatusForbidden:
		hint := "an administrator can set username and password_file of the registry " + s.label
		if s.auth == authn.Anonymous {
			return trouble{s.String() + " needs a password", hint}
		}
		return trouble{s.String() + " refuses the user name or the password", hint}
	case http.StatusTooManyRequests:
		return trouble{s.String() + " has had too many requests", "try again later"}
	}
	return trouble{fmt.Sprintf("%s answered %d %s", s, status, http.StatusText(status)), "try again later"}
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
