package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"golang.org/x/sync/errgroup"

	"walt/images/content"
	"walt/pause"
)

// Push publishes an image of the store under a name, with its own digest. Parts
// that the registry has are not sent again. report is as for Fetch.
func (r *Registry) Push(ctx context.Context, m content.Manifest, name, tag string, report func(Progress)) error {
	return r.explainPush(ctx, r.push(ctx, m, name, tag, report))
}

func (r *Registry) push(ctx context.Context, m content.Manifest, name, tag string, report func(Progress)) error {
	defer r.store.Lease(m.Blobs())()
	c := newCounter(report, m.Layers)
	repo, err := r.repository(ctx, r.server.talk(c.note), name, pushing)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	g.Go(func() error { return repo.upload(gctx, m.Config, "sending the config", c) })
	for i, b := range m.Layers {
		step := fmt.Sprintf("sending layer %d of %d", i+1, len(m.Layers))
		g.Go(func() error {
			if err := repo.upload(gctx, b, step, c); err != nil {
				return err
			}
			c.finish(b)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	err = persist(ctx, func() error { return repo.name(ctx, m, tag) })
	if err == nil {
		c.end()
	}
	return err
}

// name sends a manifest, whose parts are there, as what the tag names.
func (r *repository) name(ctx context.Context, m content.Manifest, tag string) error {
	put := r.request(ctx, http.MethodPut, r.at("manifests", tag))
	put.Header.Set("Content-Type", m.Self.MediaType)
	put.ContentLength = int64(len(m.Raw))
	put.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Raw)), nil }
	resp, err := r.ask("sending the manifest", put, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// persist does something again whose connection breaks.
func persist(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || ctx.Err() != nil || !broken(err) || try == resets {
			return err
		}
		if err := wait(ctx, pause.Doubled(resetPause, try-1)); err != nil {
			return err
		}
	}
}

// upload sends a blob unless it is there, from its begin when the connection breaks.
func (r *repository) upload(ctx context.Context, b content.Blob, step string, c *counter) error {
	there, err := r.hasBlob(ctx, b, step)
	if there || err != nil {
		return err
	}
	return persist(ctx, func() error { return r.uploadOnce(ctx, b, step, c) })
}

// hasBlob asks whether the registry has a blob. Not all of them understand HEAD.
func (r *repository) hasBlob(ctx context.Context, b content.Blob, step string) (there bool, err error) {
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		resp, err := r.ask(step, r.request(ctx, method, r.at("blobs", string(b.Digest))))
		if err != nil {
			return false, err
		}
		resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusOK:
			return true, nil
		case method == http.MethodGet && resp.StatusCode != http.StatusNotFound:
			return false, r.refused(resp)
		}
	}
	return false, nil
}

// uploadOnce sends a blob in one piece, see
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#post-then-put
func (r *repository) uploadOnce(ctx context.Context, b content.Blob, step string, c *counter) error {
	post := r.request(ctx, http.MethodPost, r.at("blobs", "uploads")+"/")
	post.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil } // not to be done twice
	resp, err := r.ask(step, post, http.StatusAccepted)
	if err != nil {
		return err
	}
	resp.Body.Close()
	to, err := r.uploadTo(resp)
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", string(b.Digest))
	to.RawQuery = q.Encode()
	put := r.request(ctx, http.MethodPut, "")
	put.URL, put.Host = to, to.Host
	put.Header.Set("Content-Type", "application/octet-stream")
	put.ContentLength = b.Size
	put.GetBody = func() (io.ReadCloser, error) {
		f, err := r.store.Open(b.Digest)
		if err != nil {
			return nil, err
		}
		return &uploadReader{ReadCloser: f, blob: b, counter: c}, nil
	}
	resp, err = r.ask(step, put, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

// uploadTo is where the registry wants a blob: behind a proxy it may not know by
// which scheme it is reached.
func (r *repository) uploadTo(resp *http.Response) (*url.URL, error) {
	at := resp.Header.Get("Location")
	to, err := resp.Request.URL.Parse(at)
	if err != nil || at == "" || to.Host == "" {
		return nil, &Error{Msg: r.String() + " does not say where to send a layer", Hint: "check its address in the configuration"}
	}
	if to.Host == r.host {
		to.Scheme = r.base.Scheme
	}
	return to, nil
}

// uploadReader reports what is read of a blob.
type uploadReader struct {
	io.ReadCloser
	blob    content.Blob
	counter *counter
	n       int64
}

func (r *uploadReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	r.counter.at(r.blob, r.n, "")
	return n, err
}
