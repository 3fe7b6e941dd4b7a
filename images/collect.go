package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/fault"
	"walt/journal"
	"walt/state"
)

const (
	// graceTime is how long content stays after it was last brought or used by a
	// Fetch, so that a record that is put after it finds it.
	graceTime = time.Hour
	// collectEvery is the pause between collections.
	collectEvery = time.Hour
)

// Garbage is content that no image needs.
type Garbage struct {
	Blobs int   // files: layers, configs, manifests, and what was derived of them
	Bytes int64 // that they take of the disk
}

// held counts who needs a blob that no record may refer to yet.
type held struct {
	mu sync.Mutex
	by map[string]int // hex of the digest
	// pauses is how many want everything to stay.
	pauses int
}

// hold keeps blobs, those that are yet to come too, from being collected until
// release is called, and for the time of grace after that.
func (l *Library) hold(blobs []v1.Descriptor) (release func()) {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	if l.held.by == nil {
		l.held.by = map[string]int{}
	}
	for _, d := range blobs {
		l.held.by[d.Digest.Hex]++
	}
	return func() {
		l.held.mu.Lock()
		defer l.held.mu.Unlock()
		for _, d := range blobs {
			// one that did not come, or cannot be touched, is no younger than it is
			os.Chtimes(l.content.blob(d.Digest), time.Time{}, l.now())
			if l.held.by[d.Digest.Hex]--; l.held.by[d.Digest.Hex] == 0 {
				delete(l.held.by, d.Digest.Hex)
			}
		}
	}
}

// Pause keeps all content from being collected until end is called.
func (l *Library) Pause() (end func()) {
	l.held.pause(1)
	return func() { l.held.pause(-1) }
}

func (h *held) pause(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pauses += n
}

// Collect frees the content that no record refers to, or with dry only counts
// it. What a running Fetch needs stays, and so does what one brought or used
// within the last hour.
func (l *Library) Collect(ctx context.Context, dry bool) (Garbage, error) {
	var g Garbage
	used, err := l.used(ctx)
	if err != nil {
		return g, fmt.Errorf("look for the content in use: %w", err)
	}
	for _, dir := range []string{l.content.blobs(), l.content.derived()} {
		files, err := os.ReadDir(dir)
		if err != nil {
			return g, err
		}
		for _, f := range files {
			if ctx.Err() != nil {
				return g, context.Cause(ctx)
			}
			hex := strings.TrimSuffix(f.Name(), derivedSuffix)
			if used[hex] {
				continue
			}
			n, err := l.drop(filepath.Join(dir, f.Name()), hex, dry)
			if err != nil {
				return g, err
			}
			if n >= 0 {
				g.Blobs++
				g.Bytes += n
			}
		}
	}
	return g, nil
}

// drop removes a file of content that is not used and returns how many bytes it
// took; -1 when it stays.
func (l *Library) drop(path, hex string, dry bool) (int64, error) {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if l.held.pauses > 0 || l.held.by[hex] > 0 || l.now().Sub(info.ModTime()) < l.grace {
		return -1, nil
	}
	if !dry {
		if err := os.Remove(path); err != nil {
			return -1, err
		}
	}
	return info.Size(), nil
}

// used returns the digests, in hex, of all content that records refer to.
func (l *Library) used(ctx context.Context) (map[string]bool, error) {
	manifests := map[string]bool{}
	err := l.store.View(ctx, func(r state.Reader) error {
		all, err := All(r)
		for _, i := range all {
			manifests[i.Digest] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for digest := range manifests {
		h, err := v1.NewHash(digest)
		if err != nil {
			continue // a record without content
		}
		m, err := l.content.manifest(h)
		if fault.As(err) != nil {
			continue // its content is not here
		}
		if err != nil {
			return nil, err // who knows what it needs
		}
		for _, d := range m.blobs() {
			used[d.Digest.Hex] = true
		}
	}
	return used, nil
}

// Run collects every hour, until ctx ends. A collection that fails is noted in
// the journal; the next one tries again.
func (l *Library) Run(ctx context.Context) error {
	every := time.NewTicker(collectEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		g, err := l.Collect(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && g.Blobs == 0 {
			continue
		}
		e := journal.Event{Type: journal.Image, Actor: journal.Server, Detail: fmt.Sprintf("freed %d bytes that no image needed", g.Bytes)}
		if err != nil {
			e.Detail = fmt.Sprintf("could not free what no image needs: %v", err)
		}
		if err := l.log.Add(ctx, e); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
