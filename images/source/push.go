package source

import (
	"context"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"walt/images/content"
)

// Push publishes an image of the store under a name, with its own digest. Parts
// that the registry has are not sent again. report is as for Fetch.
func (r *Registry) Push(ctx context.Context, m content.Manifest, name, tag string, report func(Progress)) error {
	return r.explainPush(ctx, r.push(ctx, m, name, tag, report))
}

func (r *Registry) push(ctx context.Context, m content.Manifest, name, tag string, report func(Progress)) error {
	defer r.store.Lease(m.Blobs())()
	repo, err := r.repository(ctx, name, transport.PushScope)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(remote.WithTransport(repo.client.Transport),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Second, Factor: 1, Steps: 2}))
	if err != nil {
		return err
	}
	there := r.host.Repo(repo.path)
	c := newCounter(report, m.Layers)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range append([]content.Blob{m.Config}, m.Layers...) {
		g.Go(func() error {
			part, err := partial.CompressedToLayer(&storedLayer{blob: b, store: r.store, counter: c})
			if err != nil {
				return err
			}
			if err := pusher.Upload(gctx, there, part); err != nil {
				return err
			}
			c.finish(b)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := pusher.Put(ctx, there.Tag(tag), rawManifest{m}); err != nil {
		return err
	}
	c.end()
	return nil
}

// storedLayer is a blob of the store as the library wants what it sends.
type storedLayer struct {
	blob    content.Blob
	store   *content.Store
	counter *counter
}

func (l *storedLayer) Digest() (v1.Hash, error) { return v1.NewHash(string(l.blob.Digest)) }
func (l *storedLayer) Size() (int64, error)     { return l.blob.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.blob.MediaType), nil
}

func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	f, err := l.store.Open(l.blob.Digest)
	if err != nil {
		return nil, err
	}
	return &uploadReader{ReadCloser: f, layer: l}, nil
}

// uploadReader reports what is read of a blob.
type uploadReader struct {
	io.ReadCloser
	layer *storedLayer
	n     int64
}

func (r *uploadReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	r.layer.counter.at(r.layer.blob, r.n)
	return n, err
}

// rawManifest is a manifest as it came, for the library to send.
type rawManifest struct{ m content.Manifest }

func (r rawManifest) RawManifest() ([]byte, error) { return r.m.Raw, nil }
func (r rawManifest) MediaType() (types.MediaType, error) {
	return types.MediaType(r.m.Self.MediaType), nil
}
