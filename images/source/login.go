package source

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

const tokenLimit = 64 << 10 // bytes of the answer of a token server

// login is how the requests of one talk identify this server.
type login struct {
	scopes []string // what they will do, as token servers name it

	mu     sync.Mutex // held while a token is fetched: one does for all who need it
	header string     // Authorization, "" before the registry asked for it
	token  bool       // everybody gets one: being refused with it says little
}

func (l *login) authorization() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.header
}

// enter does what a refusal asks for, and returns the Authorization to try next;
// "" when there is nothing to try. used is that which was refused.
func (r *repository) enter(ctx context.Context, refused *http.Response, used string) (string, error) {
	l := r.login
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.header != used { // another request was first
		return l.header, nil
	}
	for _, c := range challenges(refused.Header) {
		switch {
		case c.scheme == "basic" && r.username != "" && used == "":
			req := &http.Request{Header: http.Header{}}
			req.SetBasicAuth(r.username, r.password)
			l.header = req.Header.Get("Authorization")
			return l.header, nil
		case c.scheme == "bearer" && c.params["realm"] != "":
			token, err := r.fetchToken(ctx, refused, c.params)
			if err != nil {
				return "", err
			}
			l.token, l.header = true, "Bearer "+token
			return l.header, nil
		}
	}
	return "", nil
}

// fetchToken gets a token from where the registry says, with the user name and the
// password: whom the registry trusts is trusted, whatever its address is. See
// https://distribution.github.io/distribution/spec/auth/token/
func (r *repository) fetchToken(ctx context.Context, refused *http.Response, params map[string]string) (string, error) {
	u, err := refused.Request.URL.Parse(params["realm"])
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", &Error{Msg: r.String() + " wants a token from an address that is not valid", Hint: "whoever runs the registry has to correct the realm of its token server"}
	}
	if u.Scheme == "http" && refused.Request.URL.Scheme == "https" {
		return "", &Error{
			Msg:  r.String() + " wants a token from " + origin(u) + ", on the way to which everybody could read the password",
			Hint: "whoever runs the registry has to give its token server an address with https",
		}
	}
	q := u.Query()
	if params["service"] != "" {
		q.Set("service", params["service"])
	}
	scopes := r.login.scopes
	if asked := params["scope"]; asked != "" && asked != scopes[0] { // some heed the first one only
		scopes = append([]string{asked}, scopes...)
	}
	q["scope"] = scopes
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", agent)
	if r.username != "" {
		req.SetBasicAuth(r.username, r.password)
	}
	raw, _, err := r.document("getting a token from "+origin(u), req, tokenLimit)
	e, answered := errors.AsType[*answerError](err)
	if answered && (e.status == http.StatusUnauthorized || e.status == http.StatusForbidden) {
		e.host = r.host // it speaks for the registry
		return "", e
	}
	at := r.String() + " wants a token from " + origin(u) + ", which"
	switch {
	case ctx.Err() != nil:
		return "", err
	case answered:
		return "", &Error{Msg: at + " " + e.words(), Hint: "try again later"}
	case err != nil:
		return "", r.trouble(at, err)
	}
	var answer struct {
		Token  string
		Access string `json:"access_token"`
	}
	if json.Unmarshal(raw, &answer) != nil || answer.Token == "" && answer.Access == "" {
		return "", &Error{Msg: at + " gives none", Hint: "whoever runs the registry has to look after its token server"}
	}
	if answer.Token == "" {
		return answer.Access, nil
	}
	return answer.Token, nil
}

// origin is an address without what is secret in it.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// challenge is one way in which a server lets who asks identify themselves.
type challenge struct {
	scheme string            // in lower case
	params map[string]string // their names in lower case
}

// wordForm is the scheme of a challenge, or one of its parameters.
var wordForm = regexp.MustCompile(`([!#$%&'*+.^_|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+))?`)

// challenges are those of an answer, see RFC 9110, section 11.6.1.
func challenges(h http.Header) (all []challenge) {
	for _, line := range h.Values("WWW-Authenticate") {
		for _, word := range wordForm.FindAllStringSubmatch(line, -1) {
			name, value := strings.ToLower(word[1]), word[2]
			if value == "" {
				all = append(all, challenge{name, map[string]string{}})
				continue
			}
			if quoted, is := strings.CutPrefix(value, `"`); is {
				value = escaped.ReplaceAllString(strings.TrimSuffix(quoted, `"`), "$1")
			}
			if len(all) > 0 {
				all[len(all)-1].params[name] = value
			}
		}
	}
	return all
}

var escaped = regexp.MustCompile(`\\(.)`)
