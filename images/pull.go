package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"walt/fault"
)

// parallel is how many layers of one image are downloaded at the same time.
const parallel = 4

// Fetch brings the content of the image that other locations call ref, from the
// first of them that has it, registries before the docker daemon, and returns
// the record it would have, without writing it. What is here already is not
// downloaded again. A location that does not have it, or cannot be asked, passes
// the question to the next one; an image that is found but is damaged, or is no
// image for nodes, does not. Errors are faults that say what was tried where;
// whole layers are kept for the next try. report may be nil; it is called by
// several goroutines, but never by two at once.
func (l *Library) Fetch(ctx context.Context, ref Ref, report func(Progress)) (Image, error) {
	var tried []trouble
	for _, from := range l.locations() {
		image, found, err := from.fetch(ctx, l, ref, report)
		if err == nil {
			return image, nil
		}
		if ctx.Err() == nil && errors.Is(err, errAbsent) {
			continue // that no docker daemon runs is no news
		}
		t, err := gave(ctx, from, ref, err)
		if err != nil {
			return Image{}, err
		}
		tried = append(tried, t)
		if found {
			break
		}
	}
	if len(tried) == 0 {
		return Image{}, fault.Failedf("the image %s cannot be downloaded: no registry is configured", ref).
			WithHint("an administrator can add a [[registry]] to the configuration")
	}
	return Image{}, cannot("downloaded", ref, tried)
}

// FetchLink is Fetch from the location that the link names and no other. The
// Ref of the image is the name there.
func (l *Library) FetchLink(ctx context.Context, link Link, report func(Progress)) (Image, error) {
	from, err := l.location(link.Location)
	if err != nil {
		return Image{}, err
	}
	image, _, err := from.fetch(ctx, l, link.Ref, report)
	if err == nil {
		return image, nil
	}
	t, err := gave(ctx, from, link, err)
	if err != nil {
		return Image{}, err
	}
	return Image{}, cannot("downloaded", link, []trouble{t})
}

// gave puts an error of a location into words, or returns one that is no
// business of users.
func gave(ctx context.Context, from location, what fmt.Stringer, err error) (trouble, error) {
	if ctx.Err() != nil {
		return trouble{}, fmt.Errorf("fetch %s from %s: %w", what, from, context.Cause(ctx))
	}
	t, ok := from.explain(err)
	if !ok {
		return trouble{}, fmt.Errorf("fetch %s from %s: %w", what, from, err)
	}
	return t, nil
}

func (s *source) fetch(ctx context.Context, l *Library, ref Ref, report func(Progress)) (_ Image, found bool, _ error) {
	repo, m, err := s.find(ctx, ref)
	if err != nil {
		_, found := errors.AsType[trouble](err)
		return Image{}, found || errors.Is(err, errContent), err
	}
	image, err := l.pull(ctx, repo, ref, m, report)
	return image, true, err
}

func (s *source) find(ctx context.Context, ref Ref) (*repository, manifest, error) {
	repo, err := s.open(ctx, string(ref.User)+"/"+ref.Name, transport.PullScope)
	if err != nil {
		return nil, manifest{}, err
	}
	m, err := repo.manifest(ctx, ref)
	return repo, m, err
}

// pull downloads what is missing of an image, its manifest last: who sees that
// has all of it.
func (l *Library) pull(ctx context.Context, repo *repository, ref Ref, m manifest, report func(Progress)) (Image, error) {
	defer l.hold(m.blobs())()
	if err := l.download(ctx, repo, m.Config, nil); err != nil {
		return Image{}, err
	}
	config, err := os.ReadFile(l.content.blob(m.Config.Digest))
	if err != nil {
		return Image{}, err
	}
	image, err := describe(repo, ref, m, config)
	if err != nil {
		return Image{}, err
	}
	todo := l.content.missing(m.Layers)
	t := newTally(report, todo)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, layer := range todo {
		g.Go(func() error {
			if err := l.download(gctx, repo, layer, func(n int64) { t.at(layer, n) }); err != nil {
				return err
			}
			t.finish(layer)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Image{}, err
	}
	if err := l.complete(ctx, repo, m); err != nil {
		return Image{}, err
	}
	t.end()
	return image, nil
}

// complete makes an image visible whose other parts are here, unless they can be
// no layers. The caller holds them.
func (l *Library) complete(ctx context.Context, who fmt.Stringer, m manifest) error {
	if gone := l.content.missing(append(m.Layers, m.Config)); len(gone) > 0 {
		return fmt.Errorf("%s was collected meanwhile", gone[0].Digest)
	}
	if l.content.has(m.self) {
		return nil
	}
	for _, d := range m.Layers {
		if err := l.content.probe(ctx, d.Digest); err != nil {
			return unusable(who, "has a layer %s that cannot be read: %v", d.Digest, err)
		}
	}
	return l.content.add(m.self, bytes.NewReader(m.raw))
}

// download brings one blob, unless it is here. Several that want it from the
// same registry at the same time share one download.
func (l *Library) download(ctx context.Context, repo *repository, d v1.Descriptor, told func(int64)) error {
	if l.content.has(d) {
		return nil
	}
	_, err := l.downloads.watch(ctx, repo.String()+" "+d.Digest.String(), told, func(ctx context.Context, n *atomic.Int64) (struct{}, error) {
		if l.content.has(d) { // another download ended since
			return struct{}{}, nil
		}
		if err := l.content.room(d.Size); err != nil {
			return struct{}{}, err
		}
		body, err := repo.blob(ctx, d)
		if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode == http.StatusNotFound {
			return struct{}{}, unusable(repo, "lacks its part %s", d.Digest)
		}
		if err != nil {
			return struct{}{}, err
		}
		defer body.Close()
		return struct{}{}, l.content.add(d, counted{body, n})
	})
	return err
}
