package source

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"walt/images/content"
	"walt/images/flight"
)

// Hub is the label of Docker Hub among the registries.
const Hub = "hub"

// RegistryConfig says where an OCI registry is, and how to talk to it. The one
// with the label Hub is Docker Hub.
type RegistryConfig struct {
	Label string
	// URL is http or https://host[:port], with a path when the images are in
	// repositories below one. Empty is Docker Hub.
	URL string
	// Username and Password are for basic and token authentication; no
	// Username is anonymous.
	Username, Password string
	// CA signs the certificate of an https registry; nil are the system's.
	CA *x509.CertPool
	// Accounts of Docker Hub are searched: it cannot list all that it has.
	Accounts []string
	// SearchURL is the base address of Docker Hub's search; empty is its own.
	SearchURL string
}

const (
	hubURL    = "https://registry-1.docker.io"
	hubSearch = "https://hub.docker.com"
)

// agent is what this server calls itself.
const agent = "waltd"

// Registry is an OCI registry, to download images from and to publish them in.
type Registry struct {
	label              string
	base               *url.URL
	prefix             string // of all its repositories
	username, password string // no name is anonymous
	server             *peer
	hub                *hub // how to search it, nil for a registry that lists what it has

	store     *content.Store
	platforms Platforms
	downloads flight.Group[struct{}] // by digest of a blob
}

// NewRegistry prepares a registry, without talking to it. Content goes to the
// store; a registry that stays silent for stall is given up. Its addresses were
// checked by who read them, and told the user what they may be: an error here is
// none for users.
func NewRegistry(r RegistryConfig, store *content.Store, platforms Platforms, stall time.Duration) (*Registry, error) {
	if r.URL == "" {
		r.URL = hubURL
	}
	u, err := parseURL(r.URL)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.Label, err)
	}
	host, err := name.NewRegistry(u.Host)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.Label, err)
	}
	reg := &Registry{
		label:     r.Label,
		base:      &url.URL{Scheme: u.Scheme, Host: host.RegistryStr()},
		prefix:    strings.Trim(u.Path, "/"),
		username:  r.Username,
		password:  r.Password,
		store:     store,
		platforms: platforms,
	}
	where := fmt.Sprintf("registry %s (%s)", r.Label, u.Scheme+"://"+u.Host+u.Path)
	reg.server = &peer{name: where, host: reg.base.Host, transport: newTransport(r.CA, stall)}
	if r.Label == Hub {
		if reg.hub, err = newHub(r, stall); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// parseURL parses an address. An error does not repeat it: it may hold a password.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("its URL is not valid")
	}
	return u, nil
}

// Name is the label of the registry.
func (r *Registry) Name() string { return r.label }

// Close ends the connections that nobody uses. What is asked at the time goes on.
func (r *Registry) Close() {
	r.server.transport.next.CloseIdleConnections()
	if r.hub != nil {
		r.hub.server.transport.next.CloseIdleConnections()
	}
}

func (r *Registry) String() string { return r.server.name }

// repository is what is said to a registry about one of its repositories.
type repository struct {
	*Registry
	*talk
	login *login
	path  string // "" is the registry itself
}

// What requests to a repository do, as token servers name it.
const (
	pulling = "pull"
	pushing = "push,pull"
)

// repository prepares requests to the repository that is called repo below the
// prefix; do is what they will do.
func (r *Registry) repository(ctx context.Context, t *talk, repo, do string) (*repository, error) {
	repo = path.Join(r.prefix, repo)
	return r.connect(ctx, t, repo, "repository:"+repo+":"+do)
}

// connect lets a registry say first how who has a password identifies themselves:
// some show strangers less, and do not say that there is more.
func (r *Registry) connect(ctx context.Context, t *talk, repo, scope string) (*repository, error) {
	c := &repository{r, t, &login{scopes: []string{scope}}, repo}
	if r.username == "" {
		return c, nil
	}
	resp, err := c.ask("logging in", c.request(ctx, http.MethodGet, "/v2/"))
	if err != nil {
		return nil, err
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, tokenLimit)) // so that the connection is used again
	resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, c.refused(resp)
	}
	return c, nil
}

// request is one for something at a path of the registry.
func (r *repository) request(ctx context.Context, method, path string) *http.Request {
	u := *r.base
	u.Path = path
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{}}
	return req.WithContext(ctx)
}

// at is the path of one thing of the repository: kind is "manifests" or "blobs".
func (r *repository) at(kind, id string) string { return path.Join("/v2", r.path, kind, id) }

// ask sends a request, as whom the registry wants to know. Any answer but those of
// the statuses is an error; none are all.
func (r *repository) ask(step string, req *http.Request, statuses ...int) (*http.Response, error) {
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Accept-Encoding", "identity") // the digests are those of the content
	used := r.login.authorization()
	for again := false; ; again = true {
		if used != "" && req.URL.Host == r.host {
			req.Header.Set("Authorization", used)
		}
		resp, err := r.send(step, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusUnauthorized && !again && resp.Request.URL.Host == r.host {
			used, err = r.enter(req.Context(), resp, used)
			if err != nil || used != "" {
				resp.Body.Close()
			}
			if err != nil {
				return nil, err
			}
			if used != "" {
				continue
			}
		}
		if len(statuses) == 0 || slices.Contains(statuses, resp.StatusCode) {
			return resp, nil
		}
		return nil, r.refused(resp)
	}
}

// refused is the error of an answer that was not wanted.
func (r *repository) refused(resp *http.Response) error {
	resp.Body.Close()
	r.login.mu.Lock()
	defer r.login.mu.Unlock()
	if resp.StatusCode == http.StatusUnauthorized && r.login.token && r.username == "" {
		return errHidden
	}
	_, err := wanted(resp)
	return err
}

// read returns a small thing of the registry whole.
func (r *repository) read(step string, req *http.Request, limit int64) ([]byte, *http.Response, error) {
	return readDocument(req.Context(), step, limit, func() (*http.Response, error) { return r.ask(step, req, http.StatusOK) })
}
