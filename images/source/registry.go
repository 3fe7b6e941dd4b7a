package source

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

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

// Registry is an OCI registry, to download images from and to publish them in.
type Registry struct {
	label     string
	where     string // its address, for people
	prefix    string // of all its repositories
	host      name.Registry
	auth      authn.Authenticator
	transport *stallTransport
	hub       *hub // how to search it, nil for a registry that lists what it has

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
	var options []name.Option
	if u.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	host, err := name.NewRegistry(u.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.Label, err)
	}
	reg := &Registry{
		label:     r.Label,
		where:     u.Scheme + "://" + u.Host + u.Path,
		prefix:    strings.Trim(u.Path, "/"),
		host:      host,
		auth:      authn.Anonymous,
		transport: newTransport(u.Scheme, host.RegistryStr(), r.CA, stall),
		store:     store,
		platforms: platforms,
	}
	if r.Username != "" {
		reg.auth = &authn.Basic{Username: r.Username, Password: r.Password}
	}
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
	r.transport.next.CloseIdleConnections()
	if r.hub != nil {
		r.hub.transport.next.CloseIdleConnections()
	}
}

func (r *Registry) String() string { return fmt.Sprintf("registry %s (%s)", r.label, r.where) }

// repository is one repository of a registry, after the handshake that
// authenticates the requests to it.
type repository struct {
	*Registry
	path   string
	client *http.Client
}

// repository prepares requests to the repository that is called path below the prefix.
// The scope is what they will do, see the transport package.
func (r *Registry) repository(ctx context.Context, repo, scope string) (*repository, error) {
	repo = path.Join(r.prefix, repo)
	return r.connect(ctx, repo, r.host.Repo(repo).Scope(scope))
}

func (r *Registry) connect(ctx context.Context, repo, scope string) (*repository, error) {
	rt, err := transport.NewWithContext(ctx, r.host, r.auth, r.transport, []string{scope})
	if err != nil {
		return nil, err
	}
	return &repository{r, repo, &http.Client{Transport: rt}}, nil
}

// get requests one thing of the repository: kind is "manifests" or "blobs",
// accept the media types that will do. Any answer but 200 is an error.
func (r *repository) get(ctx context.Context, kind, id string, accept ...string) (*http.Response, error) {
	header := http.Header{}
	if len(accept) > 0 {
		header.Set("Accept", strings.Join(accept, ","))
	}
	return r.ask(ctx, &url.URL{Path: path.Join("/v2", r.path, kind, id)}, header, http.StatusOK)
}

// ask requests what is at an address of the registry. Any answer but those of
// the statuses is an error.
func (r *repository) ask(ctx context.Context, u *url.URL, header http.Header, statuses ...int) (*http.Response, error) {
	u.Scheme, u.Host = r.transport.scheme, r.transport.host
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, statuses...); err != nil {
		resp.Body.Close()
		token := strings.HasPrefix(strings.ToLower(resp.Header.Get("WWW-Authenticate")), "bearer")
		if resp.StatusCode == http.StatusUnauthorized && token && r.auth == authn.Anonymous {
			return nil, errHidden
		}
		return nil, err
	}
	return resp, nil
}
