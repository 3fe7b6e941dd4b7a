package content

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// nameLimit is how many bytes a path or the target of a link may have, as in Linux.
const nameLimit = 4096

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
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	var all []entry
	next := int64(0) // where the headers of the next entry begin
	for tr := tar.NewReader(s); ; {
		start := next
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
		next = roundUp(s.pos)
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := newEntry(h)
		if err != nil {
			return nil, err
		}
		if Sparse(h) && e.node != nil && e.node.mode.IsRegular() {
			if e.node.parts, err = sparseParts(h, f, start, s.pos); err != nil {
				return nil, fmt.Errorf("/%s: %w", e.path, err)
			}
		}
		if err := b.take(len(e.path) + e.cost()); err != nil {
			return nil, err
		}
		if e.node != nil {
			e.node.layer, e.node.offset = n, s.pos
			end := s.pos + e.node.stored()
			if end > size {
				return nil, fmt.Errorf("/%s: %w", e.path, io.ErrUnexpectedEOF)
			}
			next = roundUp(end)
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
		e.node.attr.Capability = capability(h)
	case fs.ModeSymlink:
		e.node.link = strings.Clone(h.Linkname)
		e.node.size = int64(len(h.Linkname))
	}
	return e, nil
}

// cost is how much memory the map of a sparse file takes.
func (e entry) cost() int {
	if e.node == nil {
		return 0
	}
	return partCost * cap(e.node.parts)
}

// inside turns the name of an entry into a path of the image: whatever it says,
// it stays below the root.
func inside(name string) string { return path.Clean("/" + name)[1:] }

// kindOf returns the type bits of the file that an entry of the type makes.
func kindOf(typeflag byte) (fs.FileMode, bool) {
	switch typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
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
