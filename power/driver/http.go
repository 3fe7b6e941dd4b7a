package driver

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"

	"walt/fault"
)

// Exchange sends an HTTP request, and returns the answer and its body, of which it reads that many
// bytes at most. Nothing of it lasts longer than the request's context.
func Exchange(t *http.Transport, q *http.Request, most int64) (*http.Response, []byte, error) {
	reply, err := t.RoundTrip(q)
	if err != nil {
		t.CloseIdleConnections() // one that is being made goes on otherwise, as long as a device is silent
		return nil, nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, to which ctx means nothing
		return reply, nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, most))
	return reply, body, err
}

// NameHint is the hint for a device whose name is not known.
const NameHint = "see how its name is written, and that DNS knows it where the server runs"

// Unreachable is the fault for a device that an error of the network kept from answering an HTTP
// request, with a hint what to check; nil when it was another error. It tells nothing of what was
// sent, nor of what came. name is the driver's. Whom no connection reaches is Silent.
func Unreachable(device, name, check string, err error) error {
	certificate, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	dns, unnamed := errors.AsType[*net.DNSError](err)
	op, network := errors.AsType[*net.OpError](err)
	switch {
	case untrusted:
		return Refusal{Err: fault.Failedf("%s shows a certificate that is not trusted: %s", device, Clean(certificate.Err.Error())).
			WithHint("set ca_file or tls_fingerprint of the driver %s in the server's file", name)}
	case network && errors.Is(err, syscall.ECONNREFUSED) && op.Addr != nil:
		return Silent(fault.Failedf("%s has nothing that answers at %s (connection refused)", device, op.Addr).WithHint("%s", check))
	case unnamed:
		return Silent(fault.Failedf("%s: its name is not known: %s", device, dns.Err).WithHint(NameHint))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fault.Failedf("%s hung up before it had answered", device).WithHint("%s", check)
	case network && op.Op == "dial":
		return Silent(fault.Failedf("cannot reach %s: %v", device, op.Err).WithHint("%s", check))
	case network:
		return fault.Failedf("cannot reach %s: %v", device, op.Err).WithHint("%s", check)
	}
	return nil
}

// Passes reports whether asking again may help a request that got this status of HTTP.
func Passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}
