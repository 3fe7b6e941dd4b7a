package source

import (
	"errors"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

func TestNetworkErrorsAreExplained(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the host name lab.example is not known": &net.DNSError{Name: "lab.example", Err: "no such host", IsNotFound: true},
		"the connection timed out":               &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
		"network is unreachable":                 &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)},
		"odd":                                    errors.New("odd"),
	} {
		if got := unreachable(&url.Error{Op: "Get", URL: "http://secret@x", Err: err}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
