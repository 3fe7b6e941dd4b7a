package initrd

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// openRegular opens a regular file.
func openRegular(tree fs.FS, name string) (fs.File, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// read returns the content of a regular file of at most limit bytes.
func read(tree fs.FS, name string, limit int64) ([]byte, error) {
	f, err := openRegular(tree, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, limit)
}

// readAll reads to the end, which is an error beyond limit bytes.
func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = syscall.EFBIG
	}
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", name, err)
	}
	return b, nil
}

// readPlain is read of a file that is compressed if its name ends so; limit is that of
// the uncompressed content.
func readPlain(tree fs.FS, name string, limit int64) ([]byte, error) {
	b, err := read(tree, name, limit)
	if err != nil {
		return nil, err
	}
	return uncompress(b, name, limit)
}

// windowLimit is how much memory uncompressing may take for what was said before.
// Compressors of modules and firmware use 2 MiB, at most 8 otherwise, with few
// exceptions.
const windowLimit = 64 << 20

func uncompress(b []byte, name string, limit int64) ([]byte, error) {
	var r io.Reader
	var err error
	switch path.Ext(name) {
	default:
		return b, nil
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(b))
	case ".xz":
		r = newXZReader(b)
	case ".zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowLimit))
		if err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", name, err)
	}
	return readAll(r, name, limit)
}
