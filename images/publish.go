package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"walt/fault"
)

// Publish pushes an image to the registry of that label, the first one for "",
// under its own name and with its own digest, and returns the link to it there.
// Parts that the registry has are not sent again. Errors are faults that say
// what the registry refused. report is as for Fetch.
func (l *Library) Publish(ctx context.Context, img Image, registry string, report func(Progress)) (Link, error) {
	to, err := l.registry(registry)
	if err != nil {
		return Link{}, err
	}
	link := Link{to.label, img.Ref}
	err = l.push(ctx, img, to, report)
	switch {
	case err == nil:
		return link, nil
	case fault.As(err) != nil:
		return Link{}, err
	case ctx.Err() != nil:
		return Link{}, fmt.Errorf("publish %s: %w", link, context.Cause(ctx))
	}
	t, ok := to.explainPush(err)
	if !ok {
		return Link{}, fmt.Errorf("publish %s: %w", link, err)
	}
	return Link{}, cannot("published", img.Ref, []trouble{t})
}

// registry returns the registry of the label, the first one for "".
func (l *Library) registry(label string) (*source, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var labels []string
	for _, s := range l.sources {
		if label == "" || s.label == label {
			return s, nil
		}
		labels = append(labels, s.label)
	}
	if len(labels) == 0 {
		return nil, fault.Failedf("images cannot be published: no registry is configured").
			WithHint("an administrator can add a [[registry]] to the configuration")
	}
	return nil, fault.Unknown("registry", []string{label}, labels, "configured: "+strings.Join(labels, ", "))
}

func (l *Library) push(ctx context.Context, img Image, to *source, report func(Progress)) error {
	h, err := v1.NewHash(img.Digest)
	if err != nil {
		return err
	}
	m, err := l.content.manifest(h)
	if err != nil {
		return err
	}
	defer l.hold(m.blobs())()
	repo, err := to.open(ctx, string(img.Ref.User)+"/"+img.Ref.Name, transport.PushScope)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(remote.WithTransport(repo.client.Transport),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Second, Factor: 1, Steps: 2}))
	if err != nil {
		return err
	}
	there := to.host.Repo(repo.path)
	t := newTally(report, m.Layers)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, d := range append(m.Layers, m.Config) {
		g.Go(func() error {
			part, err := partial.CompressedToLayer(&sent{d: d, path: l.content.blob(d.Digest), tally: t})
			if err != nil {
				return err
			}
			if err := pusher.Upload(gctx, there, part); err != nil {
				return err
			}
			t.finish(d)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := pusher.Put(ctx, there.Tag(img.Ref.Tag), stated{m}); err != nil {
		return err
	}
	t.end()
	return nil
}

// sent is a blob of ours for the library to send.
type sent struct {
	d     v1.Descriptor
	path  string
	tally *tally
}

func (s *sent) Digest() (v1.Hash, error)            { return s.d.Digest, nil }
func (s *sent) Size() (int64, error)                { return s.d.Size, nil }
func (s *sent) MediaType() (types.MediaType, error) { return s.d.MediaType, nil }
func (s *sent) Compressed() (io.ReadCloser, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	return &reading{ReadCloser: f, sent: s}, nil
}

// reading reports what is read of a blob.
type reading struct {
	io.ReadCloser
	sent *sent
	n    int64
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	r.sent.tally.at(r.sent.d, r.n)
	return n, err
}

// stated is a manifest as it came, for the library to send.
type stated struct{ m manifest }

func (s stated) RawManifest() ([]byte, error)        { return s.m.raw, nil }
func (s stated) MediaType() (types.MediaType, error) { return s.m.self.MediaType, nil }

// explainPush is explain for an error of publishing.
func (s *source) explainPush(err error) (trouble, bool) {
	e, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return s.explain(err)
	}
	hint := "an administrator can set username and password_file of the registry " + s.label
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if s.auth == authn.Anonymous {
			return trouble{s.String() + " needs a password", hint}, true
		}
		return trouble{s.String() + " refuses the user name or the password, or does not let that user publish under this name", hint}, true
	case http.StatusMethodNotAllowed:
		return trouble{s.String() + " is read-only", "choose another with --registry LABEL"}, true
	case http.StatusNotFound:
		return trouble{s.String() + " has no such place", "check its address in the configuration"}, true
	case http.StatusRequestEntityTooLarge:
		return trouble{s.String() + " does not take layers of that size", "its limit, or that of a proxy before it, must be raised"}, true
	case http.StatusInsufficientStorage:
		return trouble{s.String() + " has no room left", "an administrator must make room there"}, true
	}
	return s.refusal(e.StatusCode), true
}
