package images

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	connectLimit = 10 * time.Second
	stallLimit   = 30 * time.Second
)

// wire carries the requests to a location. It keeps to the configured scheme,
// where the library would try https and http in turn for addresses that it
// takes for local, and gives up on a server that stays silent.
type wire struct {
	scheme, host string
	stall        time.Duration
	next         *http.Transport
}

func newWire(scheme, host string, ca *x509.CertPool, stall time.Duration) *wire {
	return &wire{scheme, host, stall, &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(connectLimit, stall)}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: ca},
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // layers are wanted as they are stored
		MaxIdleConnsPerHost: parallel,
		IdleConnTimeout:     time.Minute,
	}}
}

// errStalled says that a location sent nothing for too long.
var errStalled = errors.New("no answer")

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &patient{ctx: ctx, cancel: cancel, stall: w.stall}
	b.timer = time.AfterFunc(w.stall, func() { cancel(errStalled) })
	req = req.Clone(ctx)
	if req.URL.Host == w.host {
		req.URL.Scheme = w.scheme
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = upload{req.Body, b}
	}
	resp, err := w.next.RoundTrip(req)
	b.timer.Stop()
	if err != nil {
		err = b.why(err)
		cancel(nil)
		return nil, err
	}
	b.ReadCloser, resp.Body = resp.Body, b
	return resp, nil
}

// upload is a request body; while it is taken the server is not silent.
type upload struct {
	io.ReadCloser
	*patient
}

func (u upload) Read(b []byte) (int, error) {
	u.timer.Reset(u.stall)
	return u.ReadCloser.Read(b)
}

func (u upload) Close() error { return u.ReadCloser.Close() }

// patient is a response body that fails with errStalled when a Read takes too long.
type patient struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
}

func (p *patient) Read(b []byte) (int, error) {
	p.timer.Reset(p.stall)
	n, err := p.ReadCloser.Read(b)
	p.timer.Stop()
	if err != nil && err != io.EOF {
		err = p.why(err)
	}
	return n, err
}

func (p *patient) Close() error {
	p.timer.Stop()
	err := p.ReadCloser.Close()
	p.cancel(nil)
	return err
}

// why is the reason for err: the end of the context, if it ended.
func (p *patient) why(err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	return err
}
