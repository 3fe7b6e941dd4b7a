package initrd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

const (
	moduleLimit  = 64 << 20  // bytes of one module
	modulesLimit = 192 << 20 // bytes of all of them
)

// Build writes the initramfs, compressed in a way that the kernel knows, with init as
// /init. It returns the firmware that drivers name and that is not in it. The same
// image and init give the same bytes.
func (p *Plan) Build(ctx context.Context, w io.Writer, init []byte) ([]Missing, error) {
	files, firmware, missing, err := p.gather(ctx)
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewWriterSize(w, 1<<20)
	z, err := p.compressor(buffer)
	if err != nil {
		return nil, err
	}
	if err := p.write(ctx, z, init, files, firmware); err != nil {
		z.Close() // the error is the first one's
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return missing, buffer.Flush()
}

// Missing returns the firmware that Build does not find, without building anything.
func (p *Plan) Missing(ctx context.Context) ([]Missing, error) {
	_, _, missing, err := p.gather(ctx)
	return missing, err
}

// gather reads what the initramfs is made of: modules, and the firmware that they name.
func (p *Plan) gather(ctx context.Context) (files [][]byte, firmware map[string][]byte, missing []Missing, err error) {
	if files, err = p.readPicked(ctx); err != nil {
		return nil, nil, nil, err
	}
	named := map[string]string{}
	for i, file := range files {
		for _, name := range firmwareNames(file) {
			named[name] = p.picked[i].name
		}
	}
	firmware, missing = p.findFirmware(named)
	if ctx.Err() != nil {
		return nil, nil, nil, context.Cause(ctx)
	}
	return files, firmware, missing, nil
}

// readPicked returns the uncompressed content of all modules.
func (p *Plan) readPicked(ctx context.Context) ([][]byte, error) {
	files := make([][]byte, len(p.picked))
	var sum atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range p.picked {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if files[i], err = readPlain(p.Tree, path.Join(p.dir, m.file), moduleLimit); err != nil {
				return fmt.Errorf("module %s: %w", m.name, err)
			}
			if sum.Add(int64(len(files[i]))) > modulesLimit {
				return fmt.Errorf("the modules of /%s that a machine may need have more than %d bytes", p.dir, modulesLimit)
			}
			return nil
		})
	}
	return files, g.Wait()
}

// write writes the archive.
func (p *Plan) write(ctx context.Context, w io.Writer, init []byte, files [][]byte, firmware map[string][]byte) error {
	c := &cpio{w: w, dirs: map[string]bool{}}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "tmp"} {
		c.add(dir, typeDir|0o755, nil)
	}
	c.entry("dev/console", typeDevice|0o600, 5, 1, nil)
	c.entry("dev/null", typeDevice|0o666, 1, 3, nil)
	c.add("init", typeFile|0o755, init)
	c.add("sbin/modprobe", typeLink|0o777, []byte("/init")) // for drivers that ask the kernel for others
	if p.dir != "" {
		dir := path.Join("lib/modules", p.Version)
		texts := p.set.texts(p.picked)
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			c.add(path.Join(dir, name), typeFile|0o644, []byte(texts[name]))
		}
		for i, m := range p.picked {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.add(path.Join(dir, plainName(m.file)), typeFile|0o644, files[i])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(firmware)) {
		c.add(path.Join("lib/firmware", name), typeFile|0o644, firmware[name])
	}
	return c.close()
}

// compressor compresses with what the kernel certainly knows. Kernels that nobody
// configured otherwise know gzip; zstd, which takes a third of the time of both, is
// used when the kernel's configuration says that it is there.
func (p *Plan) compressor(w io.Writer) (io.WriteCloser, error) {
	switch {
	case p.config["RD_ZSTD"] == "y":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	case p.config.off("RD_GZIP"):
		return plain{w}, nil
	}
	return gzip.NewWriterLevel(w, gzip.DefaultCompression)
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// isNotDir reports whether a part of a path is no directory.
func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
