package content

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
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
		r, err := decompress(blob)
		if err != nil {
			return "", damaged(d, err)
		}
		if r == nil {
			return blob.Name(), nil
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
		return damaged(d, in.err)
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

// decompress returns the uncompressed content of a layer, or nil if the layer
// is not compressed. What it begins with counts; media types are often wrong.
func decompress(f *os.File) (io.ReadCloser, error) {
	kind, err := CompressionOf(f)
	if err != nil {
		return nil, err
	}
	switch kind {
	case Gzip:
		return gzip.NewReader(bufio.NewReaderSize(f, 64<<10))
	case Zstd:
		d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowLimit))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, nil
}

// Compression is how a layer is compressed.
type Compression string

const (
	None Compression = ""
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// CompressionOf tells how a layer is compressed by what it begins with.
func CompressionOf(f io.ReaderAt) (Compression, error) {
	var head [4]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case bytes.HasPrefix(head[:n], gzipMagic):
		return Gzip, nil
	case bytes.HasPrefix(head[:n], zstdMagic):
		return Zstd, nil
	}
	return None, nil
}

// CheckLayer looks, without unpacking it, whether a layer that is here can be
// read: a compressed one is read to its first entry, any other is checked whole.
func (s *Store) CheckLayer(ctx context.Context, d Digest) error {
	f, err := s.Open(d)
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

func damaged(d Digest, err error) error {
	return fault.Failedf("the layer %s of the image cannot be read: %v", d, err).
		WithHint("whoever built the image has to build and publish it again")
}
