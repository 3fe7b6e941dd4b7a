package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connectLimit = 10 * time.Second
	// DefaultStall is how long a location may stay silent.
	DefaultStall = 30 * time.Second
	// patience is the part of that after which who waits is told what for.
	patience = 30
)

// stallTransport carries the requests to a location, and gives up on a server
// that stays silent.
type stallTransport struct {
	scheme string // of all requests; "" leaves it to them
	stall  time.Duration
	quiet  time.Duration // after which who waits is told what for
	next   *http.Transport
}

func newTransport(ca *x509.CertPool, stall time.Duration) *stallTransport {
	return &stallTransport{"", stall, stall / patience, &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(connectLimit, stall)}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: ca},
		TLSHandshakeTimeout: 2 * min(connectLimit, stall), // whom nobody waits for any more
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // layers are wanted as they are stored
		MaxIdleConnsPerHost: parallel,
		IdleConnTimeout:     time.Minute,
	}}
}

var (
	// errStalled says that a location sent nothing for too long.
	errStalled = errors.New("no answer")
	// errSwitched says that a location answered what nobody asks for.
	errSwitched = errors.New("it speaks another protocol than HTTP from now on (101 Switching Protocols)")
	// errUnconnected is an errStalled before there was a connection.
	errUnconnected = &stepError{"connecting", errStalled}
)

// RoundTrip implements http.RoundTripper.
func (t *stallTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.watched(req, nil)
}

// watched is RoundTrip that says when the server is silent, see silence; silent
// may be nil.
func (t *stallTransport) watched(req *http.Request, silent func(connecting bool) bool) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	var connected atomic.Bool
	b := &stallReader{ctx: ctx, cancel: cancel, stall: t.stall, quiet: &silence{after: t.quiet}}
	if silent != nil {
		b.quiet.tell = func() bool { return silent(!connected.Load()) }
	}
	b.timer = time.AfterFunc(min(connectLimit, t.stall), func() {
		if connected.Load() {
			cancel(errStalled)
		} else {
			cancel(errUnconnected)
		}
	})
	b.quiet.begin()
	req = req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		connected.Store(true)
		b.timer.Reset(t.stall)
	}}))
	if t.scheme != "" {
		req.URL.Scheme = t.scheme
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = uploadBody{req.Body, b}
	}
	resp, err := t.next.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, to which ctx means nothing
		err = errors.Join(errSwitched, resp.Body.Close())
	}
	b.timer.Stop()
	if err != nil {
		b.quiet.end()
		err = b.why(err)
		cancel(nil)
		return nil, err
	}
	b.quiet.pause()
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
	u.quiet.begin()
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
	quiet  *silence
}

func (r *stallReader) Read(b []byte) (int, error) {
	r.timer.Reset(r.stall)
	r.quiet.begin()
	n, err := r.ReadCloser.Read(b)
	r.timer.Stop()
	r.quiet.pause()
	if err != nil && err != io.EOF {
		err = r.why(err)
	}
	return n, err
}

func (r *stallReader) Close() error {
	r.timer.Stop()
	r.quiet.end()
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

// silence tells, once, that nothing was heard for some time. It is told again as
// long as tell says that it had something else to do. A nil tell is nobody.
type silence struct {
	after time.Duration
	tell  func() bool

	mu    sync.Mutex // held while tell runs: nothing is told after end
	timer *time.Timer
	over  bool // it was told, or nobody waits any more
}

// sayLater tells a note after some time, unless the function that it returns is called
// before.
func sayLater(after time.Duration, tell func(string), note string) (end func()) {
	s := &silence{after: after, tell: func() bool {
		tell(note)
		return true
	}}
	s.begin()
	return s.end
}

// begin waits from now on.
func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.tell == nil || s.over:
	case s.timer == nil:
		s.timer = time.AfterFunc(s.after, s.fire)
	default:
		s.timer.Reset(s.after)
	}
}

func (s *silence) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.over = s.tell(); !s.over {
		s.timer.Reset(s.after)
	}
}

// pause waits no more until begin.
func (s *silence) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (s *silence) end() {
	s.pause()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}
