// Package images knows the OS images of the lab: which ones users have and which
// are the default ones (Catalog), and what they are made of (Library; where that
// comes from is the package source, where it is kept the package content). Which
// node boots what is not its business; where an image must not change under a
// node, it asks (Nodes). Its one surprising rule: an image is a record that points
// to a content, so a clone costs one record, and Library.Fetch brings the content
// but leaves the record to the transaction that needs it.
package images

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"walt/fault"
	"walt/images/content"
	"walt/images/source"
	"walt/journal"
	"walt/state"
)

// Library is the content of all images, and the locations that it comes from.
type Library struct {
	content   *content.Store
	store     state.Store
	log       *journal.Journal
	now       func() time.Time
	platforms Platforms
	stall     time.Duration // how long a location may stay silent
	askLimit  time.Duration

	// Present returns the models of the nodes here: an image is wanted for those
	// of its models. nil: for all of them. It is set before anything is asked.
	Present func(context.Context) ([]Model, error)

	mu         sync.Mutex
	models     Platforms         // that the configuration tells of
	platformOf map[string]string // what images say, by their digests
	registries []*source.Registry
	docker     *source.Daemon
}

// Open opens the content directory dir, which it makes if needed, and removes
// what interrupted downloads left there. The directory may be on another file
// system than the store, and belongs to one server at a time. The platforms say
// which one of several variants is for the nodes of a model.
func Open(dir string, store state.Store, log *journal.Journal, platforms Platforms, now func() time.Time) (*Library, error) {
	c, err := content.Open(dir, now)
	if err != nil {
		return nil, fault.Failedf("the image directory %s cannot be used: %v", dir, err).
			WithHint("the server needs a directory there that it can write to")
	}
	c.Damaged = func(d content.Digest, aside string) {
		e := journal.Event{Type: journal.Image, Actor: journal.Server, Detail: fmt.Sprintf("the content %s was damaged on the disk: it is set aside as %s", d, aside)}
		if err := log.Add(context.Background(), e); err != nil {
			slog.Error("note damaged content", "digest", d, "err", err)
		}
	}
	return &Library{
		content: c, store: store, log: log, now: now, platforms: platforms,
		stall: source.DefaultStall, askLimit: askLimit,
	}, nil
}

// Files returns the merged, read-only files of the image with the manifest
// digest, a *content.Tree. The first call for an image unpacks its layers; later
// ones are cheap. It fails with a fault when the content is not here, or is not
// what a layer must be.
func (l *Library) Files(ctx context.Context, digest string) (fs.FS, error) {
	d, err := content.ParseDigest(digest)
	if err != nil {
		return nil, err
	}
	t, err := l.content.Tree(ctx, d)
	if err != nil {
		return nil, err
	}
	return t, nil
}
