package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"walt/fault"
	"walt/images/flight"
)

// treesLimit is how many bytes of memory, roughly, trees that were used lately
// may take together; the last one stays whatever its size.
const treesLimit = 64 << 20

// trees keeps the trees that were used lately.
type trees struct {
	builds flight.Group[*Tree]

	mu     sync.Mutex
	recent []builtTree // the last used one is the last
}

type builtTree struct {
	digest Digest
	tree   *Tree
}

// get returns the tree of the digest, built if it is not kept.
func (ts *trees) get(ctx context.Context, digest Digest, build func(context.Context) (*Tree, error)) (*Tree, error) {
	if t := ts.take(digest); t != nil {
		return t, nil
	}
	return ts.builds.Do(ctx, string(digest), func(ctx context.Context) (*Tree, error) {
		if t := ts.take(digest); t != nil { // another build ended since
			return t, nil
		}
		t, err := build(ctx)
		if err == nil {
			ts.keep(builtTree{digest, t})
		}
		return t, err
	})
}

func (ts *trees) take(digest Digest) *Tree {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	i := slices.IndexFunc(ts.recent, func(b builtTree) bool { return b.digest == digest })
	if i < 0 {
		return nil
	}
	b := ts.recent[i]
	ts.recent = append(slices.Delete(ts.recent, i, i+1), b)
	return b.tree
}

func (ts *trees) keep(b builtTree) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.recent = append(ts.recent, b)
	sum := 0
	for _, b := range ts.recent {
		sum += b.tree.weight
	}
	for sum > treesLimit && len(ts.recent) > 1 {
		sum -= ts.recent[0].tree.weight
		ts.recent = slices.Delete(ts.recent, 0, 1)
	}
}

// Tree returns the merged, read-only files of the image with the manifest. The
// first call for an image unpacks its layers; later ones are cheap. It fails with
// a fault when the content is not here, or is not what a layer must be. What was
// damaged here is set aside, so that the next clone brings it again.
func (s *Store) Tree(ctx context.Context, manifest Digest) (*Tree, error) {
	build := func(ctx context.Context) (*Tree, error) {
		m, err := s.Manifest(manifest)
		if err != nil {
			return nil, err
		}
		return s.merge(ctx, m.Layers)
	}
	t, err := s.trees.get(ctx, manifest, build)
	e, bad := errors.AsType[*LayerError](err)
	if bad && os.Remove(s.unpackedPath(e.Layer)) == nil { // the disk may have changed only that: it is made again
		t, err = s.trees.get(ctx, manifest, build)
		e, bad = errors.AsType[*LayerError](err)
	}
	if bad {
		err = s.blame(ctx, e)
	}
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", manifest, err)
	}
	return t, nil
}

// Check makes the files of an image whose layers are here, as nodes will want
// them, so that whatever is wrong with it is found before it is used: then it is a
// *LayerError.
func (s *Store) Check(ctx context.Context, m Manifest) error {
	_, err := s.trees.get(ctx, m.Self.Digest, func(ctx context.Context) (*Tree, error) { return s.merge(ctx, m.Layers) })
	return err
}

// blame is a fault that says whose fault it is that a layer cannot be read.
func (s *Store) blame(ctx context.Context, e *LayerError) error {
	good, err := s.verify(ctx, e.Layer)
	switch {
	case err != nil:
		return err
	case !good:
		return fault.Failedf("the layer %s of the image was damaged on this server", e.Layer).
			WithHint("clone the image again: the layer is set aside, and will be downloaded anew")
	}
	return fault.Failedf("the layer %s of the image cannot be read: %v", e.Layer, e.Err).
		WithHint("whoever built the image has to build and publish it again")
}

// drop drops the trees of images of which something is gone: when they come
// again, they are checked again.
func (ts *trees) drop(gone map[Digest]bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.recent = slices.DeleteFunc(ts.recent, func(b builtTree) bool {
		return gone[b.digest] || slices.ContainsFunc(b.tree.layers, func(d Digest) bool { return gone[d] })
	})
}

// forget drops all trees, of which one may be of something damaged.
func (ts *trees) forget() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.recent = nil
}
