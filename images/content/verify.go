package content

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Verify reads what is here of an image. What is not what its digest says, since
// the disk changed it, is set aside, and its digest returned: it is missing then.
// Unpacked layers that are not what the config says are made again.
func (s *Store) Verify(ctx context.Context, m Manifest, c Config) (damaged []Digest, err error) {
	for _, b := range m.Blobs() {
		good, err := s.verify(ctx, b.Digest)
		if err != nil {
			return damaged, err
		}
		if !good {
			damaged = append(damaged, b.Digest)
		}
	}
	for i, b := range m.Layers {
		f, err := os.Open(s.unpackedPath(b.Digest))
		if err != nil {
			continue // not unpacked
		}
		sum, err := sumOf(ctx, f)
		if err != nil {
			return damaged, err
		}
		if len(c.RootFS.DiffIDs) == len(m.Layers) && sum == c.RootFS.DiffIDs[i] {
			continue
		}
		if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return damaged, err
		}
	}
	return damaged, nil
}

// verify reports whether a blob, if it is here, is what its digest says. One that
// is not is set aside. Several who ask at the same time share the work.
func (s *Store) verify(ctx context.Context, d Digest) (good bool, err error) {
	return s.verified.Do(ctx, d.Hex(), func(ctx context.Context) (bool, error) {
		f, err := s.Open(d)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		sum, err := sumOf(ctx, f)
		if err != nil || sum == d {
			return err == nil, err
		}
		return false, s.setAside(d)
	})
}

// sumOf reads a file, closes it and returns its digest.
func sumOf(ctx context.Context, f *os.File) (Digest, error) {
	defer f.Close()
	d, _, err := hashed(io.Discard, &errorRecorder{ctx: ctx, r: f})
	return d, err
}

// setAside moves a damaged blob to where nobody takes it for whole.
func (s *Store) setAside(d Digest) error {
	if err := os.MkdirAll(s.damaged(), 0o700); err != nil {
		return err
	}
	aside := filepath.Join(s.damaged(), d.Hex())
	if err := os.Rename(s.blobPath(d), aside); err != nil {
		return err
	}
	os.Remove(s.unpackedPath(d)) // made of it, if it is there
	s.trees.forget()
	if s.Damaged != nil {
		s.Damaged(d, aside)
	}
	return syncDir(s.blobs())
}
