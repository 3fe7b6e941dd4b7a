package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"walt/pause"
)

const (
	connectLimit = 10 * time.Second
	// DefaultStall is how long a location may stay silent.
	DefaultStall = 30 * time.Second
)

// stallTransport carries the requests to a location. It keeps to the configured
// scheme, where the library would try https and http in turn for addresses that
// it takes for local, and gives up on a server that stays silent.
type stallTransport struct {
	scheme, host string
	stall        time.Duration
	next         *http.Transport
}

func newTransport(scheme, host string, ca *x509.CertPool, stall time.Duration) *stallTransport {
	return &stallTransport{scheme, host, stall, &http.Transport{
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

const (
	pauseTries = 3                // of a request whose server asks for a pause
	pauseLimit = 20 * time.Second // longer ones are for people
)

// RoundTrip tries a request again when the server has too much to do and says
// when it will have less.
func (t *stallTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := t.once(req)
		if err != nil || try == pauseTries || req.Body != nil && req.Body != http.NoBody {
			return resp, err
		}
		wanted, asked := askedPause(resp, time.Now())
		if !asked || wanted > pauseLimit {
			return resp, nil
		}
		resp.Body.Close()
		if pause.For(req.Context(), wanted) != nil {
			return nil, context.Cause(req.Context())
		}
	}
}

// askedPause is how long a server that has too much to do wants to be left alone,
// see RFC 9110, section 10.2.3.
func askedPause(resp *http.Response, now time.Time) (time.Duration, bool) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	after := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(after, 10, 16); err == nil {
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(after)
	return max(at.Sub(now), 0), err == nil
}

func (t *stallTransport) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &stallReader{ctx: ctx, cancel: cancel, stall: t.stall}
	b.timer = time.AfterFunc(t.stall, func() { cancel(errStalled) })
	req = req.Clone(ctx)
	if req.URL.Host == t.host {
		req.URL.Scheme = t.scheme
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = uploadBody{req.Body, b}
	}
	resp, err := t.next.RoundTrip(req)
	b.timer.Stop()
	if err != nil {
		err = b.why(err)
		cancel(nil)
		return nil, err
	}
	b.ReadCloser, resp.Body = resp.Body, b
	return resp, nil
}

// uploadBody is the body of a request: a server that takes it is not silent.
type uploadBody struct {
	io.ReadCloser
	*stallReader
}

func (u uploadBody) Read(b []byte) (int, error) {
	u.timer.Reset(u.stall)
	return u.ReadCloser.Read(b)
}

func (u uploadBody) Close() error { return u.ReadCloser.Close() }

// stallReader is the body of a response. It fails with errStalled when a Read
// takes too long.
type stallReader struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
}

func (r *stallReader) Read(b []byte) (int, error) {
	r.timer.Reset(r.stall)
	n, err := r.ReadCloser.Read(b)
	r.timer.Stop()
	if err != nil && err != io.EOF {
		err = r.why(err)
	}
	return n, err
}

func (r *stallReader) Close() error {
	r.timer.Stop()
	err := r.ReadCloser.Close()
	r.cancel(nil)
	return err
}

// why is the reason for err: the end of the context, if it ended.
func (r *stallReader) why(err error) error {
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	return err
}
