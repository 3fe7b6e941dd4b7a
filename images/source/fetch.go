package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/fault"
	"walt/images/content"
)

// parallel is how many layers of one image are transferred at the same time.
const parallel = 4

// Look implements Location.
func (r *Registry) Look(ctx context.Context, name, tag, platform string, tell func(string)) (Image, error) {
	repo, err := r.repository(ctx, r.server.talk(tell), name, pulling)
	if err != nil {
		return Image{}, r.explain(ctx, err)
	}
	i, _, err := repo.look(ctx, name, tag, platform)
	return i, r.explain(ctx, err)
}

// fetch downloads what is missing of an image, its manifest last: who sees that
// has all of it.
func (r *repository) fetch(ctx context.Context, m content.Manifest, config []byte, report func(Progress)) error {
	defer r.store.Lease(m.Blobs())()
	if err := verifyHere(ctx, r.store, m, config, report); err != nil {
		return err
	}
	if !r.store.Has(m.Config) {
		if err := r.store.Add(m.Config, bytes.NewReader(config)); err != nil {
			return err
		}
	}
	todo := r.store.Missing(m.Layers)
	c := newCounter(report, todo)
	c.watch(r, r.transport.quiet)
	own := &repository{r.Registry, r.peer.talk(c.note), r.login, r.path}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, layer := range todo {
		step := fmt.Sprintf("downloading layer %d of %d", i+1, len(todo))
		g.Go(func() error {
			told := func(n int64) {
				waits := step
				if time.Now().Before(own.hear()) {
					waits = "" // that was told
				}
				c.at(layer, n, waits)
			}
			if err := own.download(gctx, layer, told); err != nil {
				return atStep(step, err)
			}
			c.finish(layer)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := complete(ctx, r, r.store, m, sayLater(r.transport.quiet, c.note, unpacking)); err != nil {
		return err
	}
	c.end()
	return nil
}

// verifyHere has what is here of an image verified, and tells whom it concerns
// what was damaged and comes anew.
func verifyHere(ctx context.Context, store *content.Store, m content.Manifest, rawConfig []byte, report func(Progress)) error {
	config, err := content.ParseConfig(rawConfig)
	if err != nil {
		return err
	}
	damaged, err := store.Verify(ctx, m, config)
	for _, d := range damaged {
		if report != nil {
			report(Progress{Note: fmt.Sprintf("The copy of %s on this server was damaged: it is set aside and comes anew.", d)})
		}
	}
	return err
}

// unpacking is what who waits is told when that takes a while.
const unpacking = "All of it is here: it is unpacked and checked."

// complete makes an image visible whose other parts are in the store, unless
// nodes could not use it: whatever unpacking it trips over is found here. The
// caller has leased the parts; at is for errors, and end is called when it is done.
func complete(ctx context.Context, at fmt.Stringer, store *content.Store, m content.Manifest, end func()) error {
	defer end()
	if missing := store.Missing(append([]content.Blob{m.Config}, m.Layers...)); len(missing) > 0 {
		return fmt.Errorf("%s was collected meanwhile", missing[0].Digest)
	}
	if err := unreadable(at, store.Check(ctx, m)); err != nil || store.Has(m.Self) {
		return err
	}
	return store.Add(m.Self, bytes.NewReader(m.Raw))
}

// unreadable puts an error of unpacking layers into words.
func unreadable(at fmt.Stringer, err error) error {
	if e, ok := errors.AsType[*content.LayerError](err); ok {
		return Unusable(at, "has a layer %s that cannot be read: %v", e.Layer, e.Err)
	}
	if f := fault.As(err); f != nil {
		return &Error{Msg: f.Msg, Hint: f.Hint, Found: true}
	}
	return err
}

// download brings one blob, unless it is here. Several that want it at the same
// time share one download, so each sees for itself when nothing comes.
func (r *repository) download(ctx context.Context, b content.Blob, told func(int64)) error {
	shared := &repository{r.Registry, r.peer.talk(func(string) {}), r.login, r.path}
	_, err := r.downloads.Watch(ctx, string(b.Digest), told, func(ctx context.Context, n *atomic.Int64) (struct{}, error) {
		if r.store.Has(b) { // another download ended since
			return struct{}{}, nil
		}
		if err := r.store.CheckSpace(b.Size); err != nil {
			return struct{}{}, err
		}
		body, err := shared.open(ctx, b, "")
		if err != nil {
			return struct{}{}, err
		}
		defer body.Close()
		return struct{}{}, r.store.Add(b, countingReader{body, n})
	})
	return err
}

// open opens a blob of the repository.
func (r *repository) open(ctx context.Context, b content.Blob, step string) (*resumer, error) {
	resp, err := r.ask(step, r.request(ctx, http.MethodGet, r.at("blobs", string(b.Digest))), http.StatusOK)
	if e, ok := errors.AsType[*answerError](err); ok && e.status == http.StatusNotFound {
		return nil, Unusable(r, "lacks its part %s", b.Digest)
	}
	if err != nil {
		return nil, err
	}
	return &resumer{ctx: ctx, repo: r, blob: b, body: resp.Body}, nil
}
