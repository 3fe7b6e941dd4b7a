// Package images keeps the OS images of the lab: their content, once, by
// digest, and the names that users have for it. It brings images from registries
// and from the docker daemon, publishes them, and shows their merged files; which
// node boots what is not its business. Its one surprising rule: an image is a record that points to a
// content, so a clone costs one record, and Fetch brings the content but leaves
// the record to the caller's transaction.
package images

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

// Library is the content of all images, and the records that name it.
type Library struct {
	content   content
	store     state.Store
	log       *journal.Journal
	now       func() time.Time
	platforms Platforms
	stall     time.Duration // how long a location may stay silent
	patience  time.Duration // how long a search in one location may take
	grace     time.Duration // how long content stays that no record refers to

	mu      sync.Mutex
	sources []*source
	docker  *daemon

	downloads shared[struct{}] // by registry and digest of a blob
	saves     shared[manifest] // by image of the docker daemon
	layers    shared[string]   // unpacking, by digest of a layer
	trees     trees
	held      held
}

// Open opens the content directory dir, which it makes if needed, and removes
// what interrupted downloads left there. The directory may be on another file
// system than the store, and belongs to one server at a time. The platforms say
// which one of several variants is for the nodes of a model.
func Open(dir string, store state.Store, log *journal.Journal, platforms Platforms, now func() time.Time) (*Library, error) {
	c, err := openContent(dir)
	if err != nil {
		return nil, fault.Failedf("the image directory %s cannot be used: %v", dir, err).
			WithHint("the server needs a directory there that it can write to")
	}
	return &Library{
		content: c, store: store, log: log, now: now, platforms: platforms,
		stall: stallLimit, patience: searchLimit, grace: graceTime,
	}, nil
}

// Files returns the merged, read-only files of the image with the manifest
// digest, a *Tree. The first call for an image unpacks its layers; later ones
// are cheap. It fails with a fault when the content is not here, or is not what
// a layer must be.
func (l *Library) Files(ctx context.Context, digest string) (fs.FS, error) {
	t, err := l.trees.get(ctx, digest, func(ctx context.Context) (*Tree, error) {
		h, err := v1.NewHash(digest)
		if err != nil {
			return nil, err
		}
		m, err := l.content.manifest(h)
		if err != nil {
			return nil, err
		}
		return l.merge(ctx, m.Manifest)
	})
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", digest, err)
	}
	return t, nil
}
