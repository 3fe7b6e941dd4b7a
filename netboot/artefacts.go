package netboot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"walt/fault"
	"walt/images/flight"
	"walt/netboot/initrd"
)

// artefactsLimit is how many bytes the kept kernels and initramfs may take, beside
// those that were used within artefactsRest.
const (
	artefactsLimit = 1 << 30
	artefactsRest  = time.Minute
)

// arch is the architecture of all machines.
const arch = "amd64"

// artefacts are kernels and initramfs, made when they are first needed. Their names
// tell all that they are made of, so they are never out of date.
type artefacts struct {
	dir    string
	builds flight.Group[struct{}]
}

// of returns the files that a boot starts with.
func (a *artefacts) of(ctx context.Context, b *boot, agent func(arch string) ([]byte, error)) (Boot, error) {
	program, err := agent(arch)
	if errors.Is(err, initrd.ErrNoAgent) {
		err = fault.Failedf("%v", err)
	}
	if err != nil {
		return Boot{}, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %x", b.Digest, b.Lender, sha256.Sum256(program)))
	name := filepath.Join(a.dir, hex.EncodeToString(sum[:16]))
	files := Boot{Kernel: name + ".kernel", Initrd: name + ".initrd"}
	_, err = a.builds.Do(ctx, name, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, a.build(ctx, b, program, files)
	})
	return files, err
}

// build makes the files of a boot that are not there.
func (a *artefacts) build(ctx context.Context, b *boot, program []byte, files Boot) error {
	now := time.Now()
	if os.Chtimes(files.Kernel, now, now) == nil && os.Chtimes(files.Initrd, now, now) == nil {
		return nil
	}
	p, err := b.plan()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	err = a.write(files.Kernel, func(w io.Writer) error {
		k, err := p.Tree.Open(p.Kernel)
		if err != nil {
			return err
		}
		defer k.Close()
		_, err = io.Copy(w, k)
		return err
	})
	if err == nil {
		err = a.write(files.Initrd, func(w io.Writer) error {
			_, err := p.Build(ctx, w, program)
			return err
		})
	}
	return errors.Join(err, a.trim(now))
}

// write makes a file as a whole or not at all.
func (a *artefacts) write(name string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(a.dir, "new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // when it is there under its own name, this one is gone
	err = fill(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// trim removes files that were not used for the longest time.
func (a *artefacts) trim(now time.Time) error {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	var all []fs.FileInfo
	sum := int64(0)
	for _, e := range entries {
		i, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, i)
		sum += i.Size()
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, i := range all {
		if sum <= artefactsLimit || now.Sub(i.ModTime()) < artefactsRest {
			break
		}
		if err := os.Remove(filepath.Join(a.dir, i.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) { // another build trims, too
			return err
		}
		sum -= i.Size()
	}
	return nil
}
