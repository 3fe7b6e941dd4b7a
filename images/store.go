package images

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"walt/fault"
)

const (
	// diskFloor is how many bytes stay free for the rest of the server: its
	// store does not survive a full disk.
	diskFloor = 128 << 20
	// roomStep is how many bytes a file grows between looks at the free space.
	roomStep = 8 << 20
)

// content is a directory of files named by the SHA-256 of their content.
//
//	blobs/sha256/<hex>   manifests, configs and layers as they came, verified
//	derived/<hex>.tar    the layer <hex>, uncompressed; made again when lost
//	tmp/                 what is being written; emptied at the start
//
// What has its name is complete: files are written in tmp and moved.
type content struct {
	dir   string
	floor int64 // bytes of the disk that are never used
}

func openContent(dir string) (content, error) {
	c := content{dir, diskFloor}
	err := os.RemoveAll(c.tmp())
	for _, sub := range []string{c.blobs(), c.derived(), c.tmp()} {
		err = cmp.Or(err, os.MkdirAll(sub, 0o700))
	}
	return c, err
}

const derivedSuffix = ".tar"

func (c content) blobs() string             { return filepath.Join(c.dir, "blobs", "sha256") }
func (c content) derived() string           { return filepath.Join(c.dir, "derived") }
func (c content) tmp() string               { return filepath.Join(c.dir, "tmp") }
func (c content) blob(h v1.Hash) string     { return filepath.Join(c.blobs(), h.Hex) }
func (c content) unpacked(h v1.Hash) string { return filepath.Join(c.derived(), h.Hex+derivedSuffix) }

// errContent says that content is not what its digest or its size promised.
var errContent = errors.New("content does not match its digest")

// has reports whether the blob is here.
func (c content) has(d v1.Descriptor) bool {
	info, err := os.Stat(c.blob(d.Digest))
	return err == nil && info.Size() == d.Size
}

// missing returns those of the blobs that are not here, each once.
func (c content) missing(all []v1.Descriptor) []v1.Descriptor {
	var todo []v1.Descriptor
	for _, d := range all {
		if !c.has(d) && !slices.ContainsFunc(todo, func(t v1.Descriptor) bool { return t.Digest == d.Digest }) {
			todo = append(todo, d)
		}
	}
	return todo
}

// add stores what r holds as the blob d, durably, unless it is not d: then the
// error wraps errContent and nothing is left of it.
func (c content) add(d v1.Descriptor, r io.Reader) error {
	return c.write(c.blob(d.Digest), func(w io.Writer) error {
		hash := sha256.New()
		// one byte more than promised tells that there is too much
		n, err := io.CopyBuffer(io.MultiWriter(w, hash), io.LimitReader(r, d.Size+1), make([]byte, 128<<10))
		if err != nil {
			return err
		}
		if n != d.Size || hex.EncodeToString(hash.Sum(nil)) != d.Digest.Hex {
			return fmt.Errorf("%s: %w", d.Digest, errContent)
		}
		return nil
	})
}

// manifest reads the manifest of an image that is here.
func (c content) manifest(h v1.Hash) (manifest, error) {
	raw, err := os.ReadFile(c.blob(h))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, fault.Failedf("the content %s of the image is not on this server", h).
			WithHint("clone the image again")
	}
	if err != nil {
		return manifest{}, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return manifest{}, fmt.Errorf("manifest %s: %w", h, err)
	}
	kind := m.MediaType
	if kind == "" { // optional in OCI's
		kind = types.OCIManifestSchema1
	}
	return manifest{Manifest: m, self: v1.Descriptor{MediaType: kind, Digest: h, Size: int64(len(raw))}, raw: raw}, nil
}

// room fails with ENOSPC when size more bytes would leave too little of the disk.
func (c content) room(size int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(c.dir, &s); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", c.dir, err)
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free-c.floor < size {
		return fmt.Errorf("%d bytes more in %s: %w", size, c.dir, syscall.ENOSPC)
	}
	return nil
}

// write makes the file path, wholly and durably or not at all, from what fill
// writes to a temporary file.
func (c content) write(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(c.tmp(), "")
	if err != nil {
		return err
	}
	err = fill(&careful{f: f, content: c})
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// adopt makes a file of ours, which is the blob d, the blob d, durably.
func (c content) adopt(file string, d v1.Descriptor) error {
	if c.has(d) {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	err = f.Sync()
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(file, c.blob(d.Digest))
	}
	if err != nil {
		return err
	}
	return syncDir(c.blobs())
}

// careful writes a file while there is room on the disk: others fill it at the
// same time, so that to ask once is not enough.
type careful struct {
	f       *os.File
	content content
	left    int // bytes until the next look
}

func (w *careful) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		if err := w.content.room(roomStep); err != nil {
			return 0, err
		}
		w.left = roomStep
	}
	return w.f.Write(p)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
