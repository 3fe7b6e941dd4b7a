package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"walt/fault"
	"walt/power/driver"
)

// answer is what a device sent.
type answer struct {
	status int
	header http.Header
	body   []byte // its beginning, most bytes at most
}

// send sends a request about an outlet, and returns the body of an answer that tells of
// success. key is the request's in the server's file.
func (d *Devices) send(ctx context.Context, key string, r request, t driver.Target) ([]byte, error) {
	host := t.Host
	if host == "" {
		host = d.set.Host
	}
	r = r.fill(values{host, t.Port, d.set.User, d.set.Password})
	at, err := url.Parse(r.url)
	if err != nil {
		return nil, driver.Refusal{Err: fault.Failedf("%s of %s has no valid URL", key, d.words(t)).
			WithHint("correct it in the server's file, or the outlet")}
	}
	a, err := d.exchange(ctx, r, at, d.proof())
	if err == nil && a.status == http.StatusUnauthorized && d.set.Auth == Digest {
		challenges := parseChallenges(a.header.Values("WWW-Authenticate"))
		if proof, can := digest(challenges, d.set.User, d.set.Password, r.method, at.RequestURI()); can {
			a, err = d.exchange(ctx, r, at, proof)
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ask %s: %w", d.words(t), ctx.Err())
	case err != nil:
		return nil, d.unreachable(t, err)
	case a.status >= 200 && a.status <= 299:
		return a.body, nil
	}
	return nil, d.refused(key, t, a)
}

// proof is what Authorization says of a request that was not asked for it.
func (d *Devices) proof() string {
	switch d.set.Auth {
	case Bearer:
		return "Bearer " + d.set.Password
	case Basic:
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(d.set.User, d.set.Password)
		return r.Header.Get("Authorization")
	}
	return ""
}

// exchange sends a request, and reads the answer. It follows no redirection: where to could be
// anywhere, with our password.
func (d *Devices) exchange(ctx context.Context, r request, at *url.URL, proof string) (answer, error) {
	q, err := http.NewRequestWithContext(ctx, r.method, at.String(), strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	q.Header.Set("User-Agent", "waltd")
	q.Header.Set("Accept", "*/*")
	if kind := r.kind(); kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	if proof != "" {
		q.Header.Set("Authorization", proof)
	}
	for _, h := range d.headers {
		q.Header.Set(h.name, values{user: d.set.User, password: d.set.Password}.in(h.value, asIs))
	}
	reply, body, err := driver.Exchange(d.transport, q, most+1)
	switch {
	case len(body) > most:
		return answer{}, errLong
	case err != nil:
		return answer{}, err
	}
	return answer{reply.StatusCode, reply.Header, body}, nil
}

func asIs(s string) string { return s }

// errLong is about an answer that no outlet has reason to send.
var errLong = errors.New("its answer is longer than 64 KiB")

// unreachable is the fault for a device that sent no whole answer. It tells nothing of what
// was sent, nor of what came.
func (d *Devices) unreachable(t driver.Target, err error) error {
	words := d.words(t)
	check := "check its address, and that it is on; the server's file says how the driver " + d.set.Name + " reaches it"
	record, plain := errors.AsType[tls.RecordHeaderError](err)
	network := driver.Unreachable(d.words(driver.Target{Host: t.Host}), d.set.Name, check, err) // whatever the outlet
	switch {
	case plain && string(record.RecordHeader[:]) == "HTTP/":
		return driver.Refusal{Err: fault.Failedf("%s speaks HTTP where the request says https", words).WithHint("%s", check)}
	case errors.Is(err, errLong):
		return driver.Refusal{Err: fault.Failedf("%s: %v", words, errLong).WithHint("the request in the server's file asks for something else")}
	case network != nil:
		return network
	}
	return fault.Failedf("%s does not answer as a web server does", words).WithHint("%s", check)
}

// refused is the fault for an answer that tells of no success.
func (d *Devices) refused(key string, t driver.Target, a answer) error {
	words, status := d.words(t), strings.TrimSpace(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)))
	switch {
	case a.status == http.StatusUnauthorized && d.set.Auth == Digest && isStale(parseChallenges(a.header.Values("WWW-Authenticate"))):
		return fault.Failedf("%s takes the proof of the password for too old (%s)", words, status).WithHint("somebody else may ask it all the time")
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		hint := fmt.Sprintf("correct auth, user and password_file of the driver %s in the server's file", d.set.Name)
		return driver.Refusal{Err: fault.Failedf("%s refuses who asks (%s)", words, status).WithHint("%s", hint)}
	case a.status >= 300 && a.status <= 399:
		hint := "requests in the server's file must name the address that answers"
		if to, err := url.Parse(a.header.Get("Location")); err == nil && to.Host != "" {
			hint = fmt.Sprintf("it sends one to %.100q; %s", to.Scheme+"://"+to.Host, hint)
		}
		return driver.Refusal{Err: fault.Failedf("%s redirects (%s)", words, status).WithHint("%s", hint)}
	case driver.Passes(a.status):
		return fault.Failedf("%s cannot do it now (%s)", words, status).WithHint("its own log may say why")
	}
	return driver.Refusal{Err: fault.Failedf("%s does not know the request %s (%s)", words, key, status).
		WithHint("compare the request in the server's file with what the device understands; or there is no such outlet")}
}
