package content

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

	"walt/fault"
)

// graceTime is how long content stays after it was last brought or leased, so
// that whoever is about to refer to it finds it.
const graceTime = time.Hour

// Garbage is content that nothing refers to.
type Garbage struct {
	Blobs int   // files: layers, configs, manifests, and what was derived of them
	Bytes int64 // that they take of the disk
}

// leases count who needs a blob to which nothing may refer yet.
type leases struct {
	mu     sync.Mutex
	by     map[Digest]int
	paused int // how many want everything to stay
}

// Lease keeps blobs, those that are yet to come too, from being collected until
// release is called, and for an hour after that.
func (s *Store) Lease(blobs []Blob) (release func()) {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	if s.leases.by == nil {
		s.leases.by = map[Digest]int{}
	}
	for _, b := range blobs {
		s.leases.by[b.Digest]++
	}
	return func() {
		s.leases.mu.Lock()
		defer s.leases.mu.Unlock()
		for _, b := range blobs {
			// one that did not come, or cannot be touched, is no younger than it is
			os.Chtimes(s.blobPath(b.Digest), time.Time{}, s.now())
			if s.leases.by[b.Digest]--; s.leases.by[b.Digest] == 0 {
				delete(s.leases.by, b.Digest)
			}
		}
	}
}

// Pause keeps all content from being collected until end is called.
func (s *Store) Pause() (end func()) {
	s.leases.pause(1)
	return func() { s.leases.pause(-1) }
}

func (l *leases) pause(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused += n
}

// Collect frees the content that no image of the manifests needs, or with dry
// only counts it. What is leased stays, and so does what came or was leased
// within the last hour. A manifest that is not here needs nothing; when one
// cannot be read, nothing is freed.
func (s *Store) Collect(ctx context.Context, manifests []Digest, dry bool) (Garbage, error) {
	var g Garbage
	used, err := s.used(manifests)
	if err != nil {
		return g, fmt.Errorf("look for the content in use: %w", err)
	}
	gone := map[Digest]bool{}
	defer func() { s.trees.drop(gone) }()
	for _, dir := range []string{s.blobs(), s.derived()} {
		files, err := os.ReadDir(dir)
		if err != nil {
			return g, err
		}
		for _, f := range files {
			if ctx.Err() != nil {
				return g, context.Cause(ctx)
			}
			d := Digest(algorithm + strings.TrimSuffix(f.Name(), derivedSuffix))
			if used[d] {
				continue
			}
			n, err := s.drop(filepath.Join(dir, f.Name()), d, dry)
			if err != nil {
				return g, err
			}
			if n >= 0 {
				g.Blobs++
				g.Bytes += n
				gone[d] = !dry
			}
		}
	}
	return g, nil
}

// used returns the digests of all that the images of the manifests consist of.
func (s *Store) used(manifests []Digest) (map[Digest]bool, error) {
	used := map[Digest]bool{}
	for _, d := range manifests {
		m, err := s.Manifest(d)
		if fault.As(err) != nil && !errors.Is(err, errDamaged) {
			continue // its content is not here
		}
		if err != nil {
			return nil, err // who knows what it needs
		}
		for _, b := range m.Blobs() {
			used[b.Digest] = true
		}
	}
	return used, nil
}

// drop removes a file of content that is not used and returns how many bytes it
// took; -1 when it stays.
func (s *Store) drop(path string, d Digest, dry bool) (int64, error) {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if s.leases.paused > 0 || s.leases.by[d] > 0 || s.now().Sub(info.ModTime()) < graceTime {
		return -1, nil
	}
	if !dry {
		if err := os.Remove(path); err != nil {
			return -1, err
		}
	}
	return info.Size(), nil
}
