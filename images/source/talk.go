package source

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"walt/pause"
)

const (
	tries      = 4                    // of a request that the server could not answer
	resets     = 3                    // of one whose connection breaks
	pauseLimit = 20 * time.Second     // longer ones are for people
	firstPause = time.Second          // after what a busy server refused without a time
	resetPause = firstPause / 4       // after a connection that broke
	longAfter  = 365 * 24 * time.Hour // after which no server means it
)

// peer is a server that requests go to.
type peer struct {
	name      string // for people
	host      string // its address, as in URLs
	transport *stallTransport

	mu   sync.Mutex
	rest rest // that the server asked for last
}

// rest is a time in which a busy server is left alone by everybody.
type rest struct {
	until time.Time
	note  string // for who waits
}

// talk is what is said to a server for one who waits for it.
type talk struct {
	*peer
	tell func(note string) // says what is waited for; may be called by several goroutines

	mu    sync.Mutex
	heard time.Time // until when the rest lasts that was told last
	said  time.Time // when it was told last what is waited for
}

func (p *peer) talk(tell func(note string)) *talk { return &talk{peer: p, tell: tell} }

// answerError is an answer that was not wanted.
type answerError struct {
	status int
	host   string        // that gave it
	after  time.Duration // in which the server wants to be asked again, 0 when it did not say
}

func (e *answerError) Error() string { return fmt.Sprintf("%s answered %d", e.host, e.status) }

// stepError says what was being done when something failed.
type stepError struct {
	step string // as in "listing the images"
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// atStep adds the step to an error that has none.
func atStep(step string, err error) error {
	if _, has := errors.AsType[*stepError](err); has || err == nil || step == "" {
		return err
	}
	return &stepError{step, err}
}

// send sends a request, again when the server has too much to do or the connection
// breaks before an answer, and leaves the server alone while that asked to. A body
// comes from GetBody, and is not sent again after a broken connection.
func (t *talk) send(step string, req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	client := &http.Client{CheckRedirect: t.follow, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return t.transport.watched(r, func(connecting bool) bool { return t.waiting(step, r.URL.Host, connecting) })
	})}
	for try := 1; ; try++ {
		if err := t.sleep(ctx); err != nil {
			return nil, err
		}
		fresh := req.Clone(ctx)
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			fresh.Body = body
		}
		resp, err := client.Do(fresh)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, context.Cause(ctx)
		case err != nil && (try >= resets || !broken(err) || req.GetBody != nil):
			return nil, atStep(step, err)
		case err != nil:
			if err := wait(ctx, pause.Doubled(resetPause, try-1)); err != nil {
				return nil, err
			}
			continue
		case try == tries || !t.busy(ctx, resp, pause.Doubled(firstPause, try-1)):
			return resp, nil
		}
		resp.Body.Close()
	}
}

// follow keeps what is secret between this server and the peer when that sends it
// elsewhere, and does not let it weaken the connection.
func (t *talk) follow(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) == 10:
		return errors.New("it sends this server from one address to the next without end")
	case req.URL.Host != via[0].URL.Host:
		req.Header.Del("Authorization")
	case via[0].URL.Scheme == "https":
		req.URL.Scheme = "https"
	}
	return nil
}

// sayings is how much longer than silence lasts until it is told what is waited
// for, it is told nothing else: many requests may wait for one server.
const sayings = 5

// waiting says what is waited for, unless something was said a moment ago.
func (t *talk) waiting(step, host string, connecting bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.said) < sayings*t.transport.quiet {
		return false
	}
	t.said = time.Now()
	at := t.name
	if host != t.host {
		at += ", which points to " + host
	}
	if connecting {
		step = "connecting"
	}
	t.tell(fmt.Sprintf("Waiting for %s: %s.", at, step))
	return true
}

// busy reports whether an answer says that the server has too much to do, and
// makes everybody leave it alone for as long as it asks, or for unsaid if it
// does not say how long. A time that is too long to wait is none.
func (t *talk) busy(ctx context.Context, resp *http.Response, unsaid time.Duration) bool {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	asked := askedPause(resp, time.Now())
	note := fmt.Sprintf("%s asks to wait %v.", t.name, asked)
	if asked <= 0 { // at once would be too soon
		asked = unsaid
		note = fmt.Sprintf("%s has too much to do: waiting %v.", t.name, unsaid)
	}
	until := time.Now().Add(asked)
	if deadline, ends := ctx.Deadline(); asked > pauseLimit || ends && until.After(deadline) {
		return false
	}
	t.peer.mu.Lock()
	defer t.peer.mu.Unlock()
	if until.After(t.rest.until.Add(firstPause / 2)) { // else it is what another request was told
		t.rest = rest{until, note}
	}
	return true
}

// askedPause is how long a server that has too much to do wants to be left alone,
// in whole seconds, see RFC 9110, section 10.2.3; not more than 0 when it does not say.
func askedPause(resp *http.Response, now time.Time) time.Duration {
	after := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if n, err := strconv.ParseUint(after, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(after)
	if err != nil {
		return 0
	}
	return max(min(at.Sub(now), longAfter)+time.Second-1, 0).Truncate(time.Second)
}

// sleep waits while the server is to be left alone.
func (t *talk) sleep(ctx context.Context) error {
	for {
		left := time.Until(t.hear())
		if left <= 0 {
			return nil
		}
		if err := wait(ctx, left); err != nil {
			return err
		}
	}
}

// hear tells of a rest that was not told yet, and returns when it ends.
func (t *talk) hear() time.Time {
	t.peer.mu.Lock()
	now := t.rest
	t.peer.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.until.After(t.heard) && time.Now().Before(now.until) {
		t.heard = now.until
		t.tell(now.note)
	}
	return now.until
}

// document sends a request for something small and returns all of it, decoded if
// the server compressed it, and the answer that it came with. Any status but 200 is
// an error. What breaks in the middle is asked for again.
func (t *talk) document(step string, req *http.Request, limit int64) (raw []byte, resp *http.Response, err error) {
	return readDocument(req.Context(), step, limit, func() (*http.Response, error) {
		resp, err := t.send(step, req)
		if err != nil {
			return nil, err
		}
		return wanted(resp, http.StatusOK)
	})
}

// readDocument is document of what get gets. More than limit bytes are cut off
// after one too many.
func readDocument(ctx context.Context, step string, limit int64, get func() (*http.Response, error)) (raw []byte, resp *http.Response, err error) {
	for try := 1; ; try++ {
		if resp, err = get(); err != nil {
			return nil, nil, err
		}
		raw, err = readBody(resp, limit)
		if err == nil || try == resets || !broken(err) {
			return raw, resp, atStep(step, err)
		}
		if err := wait(ctx, pause.Doubled(resetPause, try-1)); err != nil {
			return nil, nil, err
		}
	}
}

func readBody(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		packed, err := io.ReadAll(io.LimitReader(body, limit+1))
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(strings.NewReader(string(packed)))
		if err != nil {
			return packed, nil // it was said to be, but is not
		}
		body = z
	}
	return io.ReadAll(io.LimitReader(body, limit+1))
}

// wanted returns an answer that has one of the statuses; others are errors.
func wanted(resp *http.Response, statuses ...int) (*http.Response, error) {
	for _, s := range statuses {
		if resp.StatusCode == s {
			return resp, nil
		}
	}
	resp.Body.Close()
	return nil, &answerError{resp.StatusCode, resp.Request.URL.Host, askedPause(resp, time.Now())}
}

// broken reports whether an error is that of a connection that ended early.
func broken(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// wait returns after some time, or with the cause of the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if pause.For(ctx, d) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// roundTripper is a function that carries requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
