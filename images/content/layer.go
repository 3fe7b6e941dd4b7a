package content

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"walt/fault"
)

// windowLimit is how many bytes of memory unpacking zstd may take.
const windowLimit = 128 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	zstdSkip  = []byte{0x2a, 0x4d, 0x18} // of a frame to be skipped, after 0x50 to 0x5f
)

// layer returns the path of the uncompressed tar archive of a layer that is
// here, and unpacks it if that is not done yet.
func (s *Store) layer(ctx context.Context, d Digest) (string, error) {
	if _, err := os.Stat(s.unpackedPath(d)); err == nil {
		return s.unpackedPath(d), nil
	}
	return s.unpacked.Do(ctx, d.Hex(), func(ctx context.Context) (string, error) {
		blob, err := s.Open(d)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fault.Failedf("the layer %s of the image is not on this server", d).
				WithHint("clone the image again")
		}
		if err != nil {
			return "", err
		}
		defer blob.Close()
		kind, err := CompressionOf(blob)
		if err == nil && kind == None {
			return blob.Name(), nil
		}
		var r io.ReadCloser
		if err == nil {
			r, err = Decompress(blob)
		}
		if err != nil {
			return "", layerError(d, err)
		}
		defer r.Close()
		return s.unpackedPath(d), s.unpack(ctx, d, r)
	})
}

// unpack writes what r holds as the uncompressed form of the layer.
func (s *Store) unpack(ctx context.Context, d Digest, r io.Reader) error {
	in := &errorRecorder{ctx: ctx, r: r}
	err := s.write(s.unpackedPath(d), func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	if in.err != nil {
		return layerError(d, in.err)
	}
	if full := DiskFull(err); full != nil {
		return fault.Failedf("the image cannot be unpacked: %s", full.Msg).WithHint("%s", full.Hint)
	}
	return err
}

// errorRecorder reads until its context ends, and keeps the error of its reader:
// after a copy that tells whether reading or writing failed.
type errorRecorder struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (e *errorRecorder) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// Unpacked returns the digest of the uncompressed form of a layer that is here.
func (s *Store) Unpacked(ctx context.Context, d Digest) (Digest, error) {
	path, err := s.layer(ctx, d)
	if err != nil || path == s.blobPath(d) {
		return d, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	return sumOf(ctx, f)
}

// Decompress returns what r holds in its uncompressed form, which may be that
// itself. What it begins with counts; names and media types are often wrong.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(headSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch compression(head) {
	case Gzip:
		return newGunzip(in)
	case Zstd:
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowLimit))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// Compression is how a layer is compressed.
type Compression string

const (
	None Compression = ""
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// headSize is how many bytes tell how a layer is compressed.
const headSize = 4

// CompressionOf tells how a layer is compressed by what it begins with.
func CompressionOf(f io.ReaderAt) (Compression, error) {
	var head [headSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return compression(head[:n]), nil
}

func compression(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return Gzip
	case bytes.HasPrefix(head, zstdMagic), len(head) == headSize && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], zstdSkip):
		return Zstd
	}
	return None
}

// LayerError says why a layer cannot be read.
type LayerError struct {
	Layer Digest
	Err   error
}

// layerError is what came of reading a layer: an error of the disk is none of the layer.
func layerError(d Digest, err error) error {
	if fault.Disk(err) != nil {
		return err
	}
	return &LayerError{d, err}
}

func (e *LayerError) Error() string { return fmt.Sprintf("layer %s: %v", e.Layer, e.Err) }
func (e *LayerError) Unwrap() error { return e.Err }

// gunzip reads the parts of a gzip file as one; zeros may follow them, as some
// programs fill the last block up.
type gunzip struct {
	*gzip.Reader
	in *bufio.Reader
}

func newGunzip(f io.Reader) (*gunzip, error) {
	in := bufio.NewReaderSize(f, 64<<10)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gunzip{z, in}, nil
}

func (g *gunzip) Read(p []byte) (int, error) {
	for {
		n, err := g.Reader.Read(p)
		if err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next goes to the next part; after the last one it is io.EOF.
func (g *gunzip) next() error {
	if head, _ := g.in.Peek(len(gzipMagic)); bytes.Equal(head, gzipMagic) {
		err := g.Reset(g.in)
		g.Multistream(false)
		return err
	}
	for {
		if b, err := g.in.ReadByte(); err != nil {
			return err
		} else if b != 0 {
			return errors.New("something else follows the compressed data")
		}
	}
}
