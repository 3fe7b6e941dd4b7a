package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"walt/fault"
)

const (
	nameLimit   = 4096      // bytes of a path or of the target of a link, as in Linux
	windowLimit = 128 << 20 // bytes of memory that unpacking zstd may take
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// layer returns the path of the uncompressed tar archive of a layer that is
// here, and unpacks it if that is not done yet.
func (l *Library) layer(ctx context.Context, h v1.Hash) (string, error) {
	if _, err := os.Stat(l.content.unpacked(h)); err == nil {
		return l.content.unpacked(h), nil
	}
	return l.layers.do(ctx, h.Hex, func(ctx context.Context) (string, error) {
		blob, err := os.Open(l.content.blob(h))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fault.Failedf("the layer %s of the image is not on this server", h).
				WithHint("clone the image again")
		}
		if err != nil {
			return "", err
		}
		defer blob.Close()
		r, err := decompress(blob)
		if err != nil {
			return "", damaged(h, err)
		}
		if r == nil {
			return blob.Name(), nil
		}
		defer r.Close()
		return l.content.unpacked(h), l.unpack(ctx, h, r)
	})
}

// unpack writes what r holds as the uncompressed form of the layer.
func (l *Library) unpack(ctx context.Context, h v1.Hash, r io.Reader) error {
	in := &blamed{ctx: ctx, r: r}
	err := l.content.write(l.content.unpacked(h), func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	if in.err != nil {
		return damaged(h, in.err)
	}
	if diskFull(err) {
		return fault.Failedf("the image cannot be unpacked: %s", fullMsg).WithHint(fullHint)
	}
	return err
}

// blamed reads until its context ends, and remembers the error of its reader to
// tell it from one of who writes.
type blamed struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (b *blamed) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// decompress returns the uncompressed content of a layer, or nil if the layer
// is not compressed. What it begins with counts; media types are often wrong.
func decompress(f *os.File) (io.ReadCloser, error) {
	kind, err := layerType(f)
	if err != nil {
		return nil, err
	}
	switch kind {
	case types.OCILayer:
		return gzip.NewReader(bufio.NewReaderSize(f, 64<<10))
	case types.OCILayerZStd:
		d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowLimit))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, nil
}

// layerType tells how a layer is compressed by what it begins with.
func layerType(f *os.File) (types.MediaType, error) {
	var head [4]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case bytes.HasPrefix(head[:n], gzipMagic):
		return types.OCILayer, nil
	case bytes.HasPrefix(head[:n], zstdMagic):
		return types.OCILayerZStd, nil
	}
	return types.OCIUncompressedLayer, nil
}

// probe looks at a layer that came for what tells, without unpacking it, that it
// cannot be read: one that is compressed is read to its first entry, any other
// is checked whole.
func (c content) probe(ctx context.Context, h v1.Hash) error {
	f, err := os.Open(c.blob(h))
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return err
	}
	if r == nil {
		left := budget(treeBudget)
		_, err := entries(ctx, f, 0, &left)
		return err
	}
	defer r.Close()
	first, err := tar.NewReader(r).Next()
	if err == io.EOF {
		return nil
	}
	if err == nil && first.Typeflag != tar.TypeXGlobalHeader {
		_, err = newEntry(first)
	}
	return err
}

func damaged(h v1.Hash, err error) error {
	return fault.Failedf("the layer %s of the image cannot be read: %v", h, err).
		WithHint("whoever built the image has to build and publish it again")
}

// entry is one entry of a layer's archive. Its path is clean, relative to the
// root of the image and never above it; "" is the root itself.
type entry struct {
	path string
	node *inode // nil for a hard link
	hard string // the path of the file that a hard link is a name of
}

// entries reads the headers of a layer's archive. n is the number of the layer
// in its image.
func entries(ctx context.Context, f *os.File, n int, b *budget) ([]entry, error) {
	s := &skipper{src: f}
	s.buf = bufio.NewReaderSize(s.section(), 32<<10)
	var all []entry
	for tr := tar.NewReader(s); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := newEntry(h)
		if err != nil {
			return nil, err
		}
		if err := b.take(len(e.path)); err != nil {
			return nil, err
		}
		if e.node != nil {
			e.node.layer, e.node.offset = n, s.pos
		}
		all = append(all, e)
	}
}

func newEntry(h *tar.Header) (entry, error) {
	e := entry{path: inside(h.Name)}
	if len(e.path) > nameLimit || len(h.Linkname) > nameLimit {
		return e, fmt.Errorf("the name of an entry has more than %d bytes", nameLimit)
	}
	if h.Typeflag == tar.TypeLink {
		e.hard = inside(h.Linkname)
		return e, nil
	}
	kind, ok := kindOf(h.Typeflag)
	switch {
	case !ok:
		return e, fmt.Errorf("/%s has the type %q, which this server does not know", e.path, h.Typeflag)
	case sparse(h):
		return e, fmt.Errorf("/%s is stored as a sparse file, which this server cannot read", e.path)
	case kind == fs.ModeSymlink && h.Linkname == "":
		return e, fmt.Errorf("/%s is a symbolic link to nothing", e.path)
	}
	e.node = &inode{
		mode:  kind | permissions(h.Mode),
		mtime: h.ModTime,
		attr:  Attr{UID: h.Uid, GID: h.Gid, Major: h.Devmajor, Minor: h.Devminor},
	}
	switch kind {
	case 0:
		e.node.size = h.Size
	case fs.ModeSymlink:
		e.node.link = strings.Clone(h.Linkname)
		e.node.size = int64(len(h.Linkname))
	}
	return e, nil
}

// inside turns the name of an entry into a path of the image: whatever it says,
// it stays below the root.
func inside(name string) string { return path.Clean("/" + name)[1:] }

// kindOf returns the type bits of the file that an entry of the type makes.
func kindOf(typeflag byte) (fs.FileMode, bool) {
	switch typeflag {
	case tar.TypeReg, tar.TypeCont:
		return 0, true
	case tar.TypeDir:
		return fs.ModeDir, true
	case tar.TypeSymlink:
		return fs.ModeSymlink, true
	case tar.TypeChar:
		return fs.ModeDevice | fs.ModeCharDevice, true
	case tar.TypeBlock:
		return fs.ModeDevice, true
	case tar.TypeFifo:
		return fs.ModeNamedPipe, true
	}
	return 0, false
}

// permissions converts the mode field of a header, without the type that some
// archives repeat in it.
func permissions(mode int64) fs.FileMode {
	m := fs.FileMode(mode) & fs.ModePerm
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// sparse reports whether the content of a file is not stored as it is.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// skipper reads a file through a buffer that survives short seeks, and knows
// where it is.
type skipper struct {
	src io.ReaderAt
	buf *bufio.Reader
	pos int64
}

func (s *skipper) section() io.Reader { return io.NewSectionReader(s.src, s.pos, 1<<62) }

func (s *skipper) Read(p []byte) (int, error) {
	n, err := s.buf.Read(p)
	s.pos += int64(n)
	return n, err
}

// Seek moves forward from the present position, which is all that archive/tar asks for.
func (s *skipper) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return s.pos, errors.ErrUnsupported
	}
	s.pos += offset
	if offset <= int64(s.buf.Buffered()) {
		s.buf.Discard(int(offset))
	} else {
		s.buf.Reset(s.section())
	}
	return s.pos, nil
}
