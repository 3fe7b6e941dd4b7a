package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"walt/fault"
)

// parallel is how many layers of one image are downloaded at the same time.
const parallel = 4

// Fetch brings the content of the image that the registries call ref, from the
// first of them that has it, and returns the record it would have, without
// writing it. What is here already is not downloaded again. A registry that does
// not have it, or cannot be asked, passes the question to the next one; an image
// that is found but is damaged, or is no image for nodes, does not. Errors are
// faults that say what was tried where; whole layers are kept for the next try.
func (l *Library) Fetch(ctx context.Context, ref Ref) (Image, error) {
	l.mu.Lock()
	sources := l.sources
	l.mu.Unlock()
	if len(sources) == 0 {
		return Image{}, fault.Failedf("the image %s cannot be downloaded: no registry is configured", ref).
			WithHint("an administrator can add a [[registry]] to the configuration")
	}
	var tried []trouble
	for _, from := range sources {
		image, found, err := l.fetchFrom(ctx, from, ref)
		if err == nil {
			return image, nil
		}
		if ctx.Err() != nil {
			return Image{}, fmt.Errorf("fetch %s from %s: %w", ref, from, context.Cause(ctx))
		}
		t, ok := from.explain(err)
		if !ok {
			return Image{}, fmt.Errorf("fetch %s from %s: %w", ref, from, err)
		}
		tried = append(tried, t)
		if found {
			break
		}
	}
	return Image{}, cannot(ref, tried)
}

// fetchFrom also reports whether the registry has the image.
func (l *Library) fetchFrom(ctx context.Context, from *source, ref Ref) (_ Image, found bool, _ error) {
	repo, err := from.open(ctx, string(ref.User)+"/"+ref.Name)
	if err != nil {
		return Image{}, false, err
	}
	m, err := repo.manifest(ctx, ref.Tag, platforms(ref))
	if err != nil {
		_, found := errors.AsType[trouble](err)
		return Image{}, found || errors.Is(err, errContent), err
	}
	image, err := l.pull(ctx, repo, ref, m)
	return image, true, err
}

// pull downloads what is missing of an image, its manifest last: who sees that
// has all of it.
func (l *Library) pull(ctx context.Context, repo *repository, ref Ref, m manifest) (Image, error) {
	if err := l.download(ctx, repo, m.Config); err != nil {
		return Image{}, err
	}
	config, err := os.ReadFile(l.content.blob(m.Config.Digest))
	if err != nil {
		return Image{}, err
	}
	image, err := repo.describe(ref, m, config)
	if err != nil {
		return Image{}, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, layer := range m.Layers {
		g.Go(func() error { return l.download(gctx, repo, layer) })
	}
	if err := g.Wait(); err != nil {
		return Image{}, err
	}
	if l.content.has(m.self) {
		return image, nil
	}
	return image, l.content.add(m.self, bytes.NewReader(m.raw))
}

// download brings one blob, unless it is here. Several that want it from the
// same registry at the same time share one download.
func (l *Library) download(ctx context.Context, repo *repository, d v1.Descriptor) error {
	if l.content.has(d) {
		return nil
	}
	_, err := l.downloads.do(ctx, repo.String()+" "+d.Digest.String(), func(ctx context.Context) (struct{}, error) {
		if l.content.has(d) { // another download ended since
			return struct{}{}, nil
		}
		if err := l.content.room(d.Size); err != nil {
			return struct{}{}, err
		}
		resp, err := repo.get(ctx, "blobs", d.Digest.String())
		if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode == http.StatusNotFound {
			return struct{}{}, repo.unusable("lacks its part %s", d.Digest)
		}
		if err != nil {
			return struct{}{}, err
		}
		defer resp.Body.Close()
		return struct{}{}, l.content.add(d, resp.Body)
	})
	return err
}
