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
	"sync"
	"time"

	"walt/fault"
	"walt/images/content"
	"walt/images/flight"
	"walt/netboot/initrd"
)

// artefactsLimit is how many bytes the kept kernels and initramfs may take, beside
// those that were used within artefactsRest.
const (
	artefactsLimit = 1 << 30
	artefactsRest  = time.Minute
)

// artefacts are kernels and initramfs, made when they are first needed. Their names
// tell all that they are made of, so they are never out of date.
type artefacts struct {
	dir    string
	disk   *content.Disk
	turns  turns
	builds flight.Group[struct{}]

	mu   sync.Mutex
	sums map[string][sha256.Size]byte // of the programs of ours that were needed, by architecture
}

func newArtefacts(dir string, t turns) *artefacts {
	return &artefacts{dir: dir, disk: content.NewDisk(dir), turns: t, sums: map[string][sha256.Size]byte{}}
}

// programs returns the program of ours for an architecture, always the same.
type programs func(arch string) ([]byte, error)

// sum is that of a program, which takes long to read.
func (a *artefacts) sum(of programs, arch string) (sum [sha256.Size]byte, err error) {
	a.mu.Lock() // whoever asks meanwhile waits for that
	defer a.mu.Unlock()
	sum, known := a.sums[arch]
	if known {
		return sum, nil
	}
	program, err := of(arch)
	if errors.Is(err, initrd.ErrNoAgent) {
		err = fault.Failedf("%v", err)
	}
	if err != nil {
		return sum, err
	}
	sum = sha256.Sum256(program)
	a.sums[arch] = sum
	return sum, nil
}

// turns are for those who have the modules of an image in memory, which may be 250 MB:
// it has a value for each.
type turns chan struct{}

// modulesAtOnce is how many they may be.
const modulesAtOnce = 1

// take waits for a turn, until ctx ends.
func (t turns) take(ctx context.Context) (leave func(), err error) {
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// of returns the files that a boot starts with.
func (a *artefacts) of(ctx context.Context, b *boot, agent programs) (Boot, error) {
	program, err := a.sum(agent, b.arch())
	if err != nil {
		return Boot{}, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %x", b.Digest, b.Lender, b.Model, program))
	name := filepath.Join(a.dir, hex.EncodeToString(sum[:16]))
	files := Boot{Kernel: name + ".kernel", Initrd: name + ".initrd"}
	_, err = a.builds.Do(ctx, name, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, a.build(ctx, b, agent, files)
	})
	return files, err
}

// build makes the files of a boot that are not there.
func (a *artefacts) build(ctx context.Context, b *boot, agent programs, files Boot) error {
	now := time.Now()
	if os.Chtimes(files.Kernel, now, now) == nil && os.Chtimes(files.Initrd, now, now) == nil {
		return nil
	}
	leave, err := a.turns.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	p, err := b.plan(b.arch())
	if err != nil {
		return err
	}
	program, err := agent(b.arch())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	err = a.make(ctx, p, program, files)
	if content.DiskFull(err) != nil { // what nobody needs now can be made again
		if err = a.trim(now, 0); err == nil {
			err = a.make(ctx, p, program, files)
		}
	}
	if full := content.DiskFull(err); full != nil {
		return full
	}
	return errors.Join(err, a.trim(now, artefactsLimit))
}

// make writes the files of a boot.
func (a *artefacts) make(ctx context.Context, p *initrd.Plan, program []byte, files Boot) error {
	err := a.disk.WriteFile(files.Kernel, a.dir, p.WriteKernel)
	if err == nil {
		err = a.disk.WriteFile(files.Initrd, a.dir, func(w io.Writer) error {
			_, err := p.Build(ctx, w, program)
			return err
		})
	}
	return err
}

// trim removes files that were not used for the longest time, until the others take no
// more than limit bytes.
func (a *artefacts) trim(now time.Time, limit int64) error {
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
		if sum <= limit || now.Sub(i.ModTime()) < artefactsRest {
			break
		}
		if err := os.Remove(filepath.Join(a.dir, i.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) { // another build trims, too
			return err
		}
		sum -= i.Size()
	}
	return nil
}
