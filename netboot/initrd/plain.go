package initrd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// WriteKernel writes the kernel as loaders want it: those of arm64 that are compressed as a
// whole, by gzip, or in the form that only UEFI knows (Linux
// drivers/firmware/efi/libstub/zboot-header.S), by gzip or zstd, are uncompressed. Others
// are as they are.
func (p *Plan) WriteKernel(w io.Writer) error {
	f, err := openRegular(p.Tree, p.Kernel)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(io.LimitReader(f, kernelLimit))
	head, err := r.Peek(64)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	plain, err := plainKernel(r, head)
	if err != nil {
		return fmt.Errorf("/%s: %w", p.Kernel, err)
	}
	defer plain.Close()
	n, err := io.Copy(w, io.LimitReader(plain, kernelLimit+1))
	if err == nil && n > kernelLimit {
		err = syscall.EFBIG
	}
	if err != nil {
		return fmt.Errorf("/%s: %w", p.Kernel, err)
	}
	return nil
}

// plainKernel uncompresses a kernel that begins with head.
func plainKernel(r *bufio.Reader, head []byte) (io.ReadCloser, error) {
	var packed io.Reader = r
	kind := ""
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		kind = "gzip"
	case len(head) >= 64 && string(head[4:8]) == "zimg":
		offset, size := binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
		name, _, _ := bytes.Cut(head[0x18:0x38], []byte{0})
		kind = string(name)
		if kind != "gzip" && kind != "zstd" {
			return io.NopCloser(r), nil // UEFI starts it
		}
		if _, err := io.CopyN(io.Discard, r, int64(offset)); err != nil {
			return nil, err
		}
		packed = io.LimitReader(r, int64(size))
	}
	switch kind {
	case "gzip":
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, err
		}
		z.Multistream(false) // what may follow is no part of it
		return z, nil
	case "zstd":
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowLimit*2))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}
