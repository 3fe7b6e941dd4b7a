package images

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

	"walt/fault"
)

// Registry is a place to download images from and to publish them in: an OCI
// registry. The one with the label Hub is Docker Hub.
type Registry struct {
	Label string
	// URL is http or https://host[:port], with a path when the images are in
	// repositories below one. Empty is Docker Hub.
	URL string
	// Username and Password are for basic and token authentication; no
	// Username is anonymous.
	Username, Password string
	// CA signs the certificate of an https registry; nil are the system's.
	CA *x509.CertPool
	// Accounts of Docker Hub are searched besides that of the default images:
	// it cannot list all that it has.
	Accounts []string
	// SearchURL is the base address of Docker Hub's search; empty is its own.
	SearchURL string
}

const (
	hubURL    = "https://registry-1.docker.io"
	hubSearch = "https://hub.docker.com"
)

// source is a Registry that can be talked to. Its String is for people and
// never holds credentials.
type source struct {
	label  string
	where  string // its address, for people
	prefix string // of all its repositories
	host   name.Registry
	auth   authn.Authenticator
	wire   *wire
	hub    *hub // how to search it, nil for a registry that lists what it has
	// platforms tells which one of a manifest list is for the nodes of a model.
	platforms Platforms
}

func newSource(r Registry, platforms Platforms, stall time.Duration) (*source, error) {
	if r.URL == "" {
		r.URL = hubURL
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fault.Failedf("the address of registry %s is invalid", r.Label).
			WithHint("an address is http://host[:port] or https://host[:port]")
	}
	var options []name.Option
	if u.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	host, err := name.NewRegistry(u.Host, options...)
	if err != nil {
		return nil, fault.Failedf("the host %q of registry %s is invalid", u.Host, r.Label)
	}
	s := &source{
		label:  r.Label,
		where:  u.Scheme + "://" + u.Host + u.Path,
		prefix: strings.Trim(u.Path, "/"),
		host:   host,
		auth:   authn.Anonymous,
		wire:   newWire(u.Scheme, host.RegistryStr(), r.CA, stall),

		platforms: platforms,
	}
	if r.Username != "" {
		s.auth = &authn.Basic{Username: r.Username, Password: r.Password}
	}
	if r.Label == Hub {
		if s.hub, err = newHub(r, stall); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *source) name() string { return s.label }

// close ends the connections that nobody uses.
func (s *source) close() {
	s.wire.next.CloseIdleConnections()
	if s.hub != nil {
		s.hub.wire.next.CloseIdleConnections()
	}
}

func (s *source) String() string { return fmt.Sprintf("registry %s (%s)", s.label, s.where) }

// repository is one repository of a registry, after the handshake that
// authenticates the requests to it.
type repository struct {
	*source
	path   string
	client *http.Client
}

// open prepares requests to the repository that is called path below the prefix.
// The scope is what they will do, see the transport package.
func (s *source) open(ctx context.Context, repo, scope string) (*repository, error) {
	repo = path.Join(s.prefix, repo)
	return s.connect(ctx, repo, s.host.Repo(repo).Scope(scope))
}

func (s *source) connect(ctx context.Context, repo, scope string) (*repository, error) {
	rt, err := transport.NewWithContext(ctx, s.host, s.auth, s.wire, []string{scope})
	if err != nil {
		return nil, err
	}
	return &repository{s, repo, &http.Client{Transport: rt}}, nil
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
	u.Scheme, u.Host = r.wire.scheme, r.wire.host
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

// errHidden says that a registry gave a token to everybody, and then refused
// it: Docker Hub answers so for what is private and for what it does not have.
var errHidden = errors.New("hidden or not there")
