package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

const (
	entryLimit = 10_000 // files of an archive
	nameLimit  = 4096   // bytes of the name of one, as in Linux
)

// archive is what container tools pack images into: files by any names, and some
// that say which of them is what, see packed. They may come last; so all files are
// unpacked, each named by its digest, before anything is made of them.
//
// The reader of go-containerregistry (pkg/v1/tarball) would do it in more code: it
// wants the whole archive in a file beside the layers, goes through that once for
// each of them, and gives them compressed or not as the first one is, unverified.
type archive struct {
	at    fmt.Stringer // for errors
	store *content.Store
	dir   string                  // with the files
	files map[string]content.Blob // by name
	links map[string]string       // other names of them
}

// readError says that an archive cannot be read.
type readError struct {
	err   error
	files int // that were read before
}

func (e *readError) Error() string { return fmt.Sprintf("read an archive: %v", e.err) }
func (e *readError) Unwrap() error { return e.err }

// unpackArchive unpacks an archive, and calls layer for each file that may be a
// layer. The caller removes it. at is for errors.
func unpackArchive(ctx context.Context, at fmt.Stringer, store *content.Store, r io.Reader, layer func(content.Blob)) (*archive, error) {
	dir, err := store.TempDir()
	if err != nil {
		return nil, err
	}
	a := &archive{at, store, dir, map[string]content.Blob{}, map[string]string{}}
	if err := a.unpack(ctx, r, layer); err != nil {
		a.remove()
		return nil, err
	}
	return a, nil
}

func (a *archive) remove() { os.RemoveAll(a.dir) }

func (a *archive) unpack(ctx context.Context, r io.Reader, layer func(content.Blob)) error {
	in := &failReader{r: tar.NewReader(r)}
	for n := 0; ; n++ {
		h, err := in.r.Next()
		if err == io.EOF {
			return nil
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return &readError{err, n}
		case n == entryLimit:
			return fmt.Errorf("more than %d files: %w", entryLimit, content.ErrMismatch)
		case len(h.Name) > nameLimit || len(h.Linkname) > nameLimit:
			return fmt.Errorf("a name of more than %d bytes: %w", nameLimit, content.ErrMismatch)
		case content.Sparse(h):
			return fmt.Errorf("sparse file: %w", content.ErrMismatch)
		}
		name := strings.Clone(path.Clean(h.Name)) // h keeps up to a megabyte
		switch h.Typeflag {
		case tar.TypeReg:
			b, err := a.store.Spill(a.dir, in)
			if in.err != nil {
				return &readError{in.err, n + 1}
			}
			if err != nil {
				return err
			}
			a.files[name] = b
			if layer != nil && a.mayBeLayer(b) {
				layer(b)
			}
		case tar.TypeSymlink:
			a.links[name] = strings.Clone(path.Join(path.Dir(h.Name), h.Linkname))
		case tar.TypeLink:
			a.links[name] = strings.Clone(path.Clean(h.Linkname))
		}
	}
}

// failReader keeps the error with which reading ended: after a copy that tells whether
// reading or writing failed.
type failReader struct {
	r   *tar.Reader
	err error
}

func (f *failReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

func (a *archive) path(d content.Digest) string { return filepath.Join(a.dir, d.Hex()) }

// mayBeLayer reports whether a file looks like one, rather than like a document. It
// is for who watches only.
func (a *archive) mayBeLayer(b content.Blob) bool {
	f, err := os.Open(a.path(b.Digest))
	if err != nil {
		return false
	}
	defer f.Close()
	var head [1]byte
	_, err = f.Read(head[:])
	const least = 32 // bytes, of one that is compressed
	return err == nil && b.Size >= least && head[0] != '{' && head[0] != '['
}

// find returns the file of that name, or one without a digest.
func (a *archive) find(name string) content.Blob {
	name = path.Clean(name)
	if target, ok := a.links[name]; ok {
		name = target
	}
	return a.files[name]
}

// read returns the content of a small file.
func (a *archive) read(name string) ([]byte, error) {
	b := a.find(name)
	if b.Digest == "" || b.Size > configLimit {
		return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
	}
	return os.ReadFile(a.path(b.Digest))
}

// String is that of where the archive comes from.
func (a *archive) String() string { return a.at.String() }

// has implements holder: tools leave out the variants that they do not have.
func (a *archive) has(digest string) bool {
	d, err := content.ParseDigest(digest)
	if err == nil {
		_, err = os.Stat(a.path(d))
	}
	return err == nil
}

// part returns the file with the digest, which must not be larger than a limit.
func (a *archive) part(d content.Digest, limit int64) ([]byte, error) {
	info, err := os.Stat(a.path(d))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, a.lacks(d)
	case err != nil:
		return nil, err
	case info.Size() > limit:
		return nil, Unusable(a, "has a part %s of more than %d bytes", d, limit)
	}
	return os.ReadFile(a.path(d))
}

// lacks says that there is no file with a digest.
func (a *archive) lacks(d content.Digest) error {
	if b := a.find("blobs/sha256/" + d.Hex()); b.Digest != "" {
		return Unusable(a, "was damaged: its part %s is something else", d)
	}
	return Unusable(a, "was packed without its part %s", d)
}

// manifest implements holder.
func (a *archive) manifest(_ context.Context, digest string) ([]byte, types.MediaType, error) {
	d, err := content.ParseDigest(digest)
	if err != nil {
		return nil, "", Unusable(a, "has a part %s, which this server cannot verify", digest)
	}
	raw, err := a.part(d, manifestLimit)
	return raw, kindOf("", raw), err
}

// config implements holder.
func (a *archive) config(_ context.Context, b content.Blob) ([]byte, error) {
	return a.part(b.Digest, configLimit)
}

// bring implements holder.
func (a *archive) bring(ctx context.Context, m content.Manifest, config []byte, report func(Progress)) error {
	defer a.store.Lease(m.Blobs())()
	if err := a.adopt(ctx, m, config, report); err != nil {
		return err
	}
	return complete(ctx, a, a.store, m, func() {})
}

// adopt makes the parts of an image, but for its manifest, parts of the store, when
// the layers are what its config says.
func (a *archive) adopt(ctx context.Context, m content.Manifest, rawConfig []byte, report func(Progress)) error {
	config, err := content.ParseConfig(rawConfig)
	if err != nil || len(config.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("config and layers do not fit: %w", content.ErrMismatch)
	}
	parts := append([]content.Blob{m.Config}, m.Layers...)
	for _, b := range parts {
		info, err := os.Stat(a.path(b.Digest))
		if err != nil {
			return a.lacks(b.Digest)
		}
		if info.Size() != b.Size {
			return fmt.Errorf("%s of %d bytes, not %d: %w", b.Digest, info.Size(), b.Size, content.ErrMismatch)
		}
	}
	if err := verifyHere(ctx, a.store, m, rawConfig, report); err != nil {
		return err
	}
	for _, b := range parts {
		if err := a.store.Adopt(a.dir, b); err != nil {
			return err
		}
	}
	seen := map[content.Digest]content.Digest{}
	for i, b := range m.Layers {
		is, again := seen[b.Digest]
		if !again {
			if is, err = a.store.Unpacked(ctx, b.Digest); err != nil {
				return unreadable(a, err)
			}
			seen[b.Digest] = is
		}
		if want := config.RootFS.DiffIDs[i]; is != want {
			return fmt.Errorf("layer %s: %w", want, content.ErrMismatch)
		}
	}
	return nil
}
