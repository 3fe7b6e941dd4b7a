package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/images/content"
)

// Builds that end at the same time make room, and do not fail for each other.
func TestTrimAtTheSameTime(t *testing.T) {
	t.Parallel()
	a := &artefacts{dir: t.TempDir()}
	old := time.Now().Add(-time.Hour)
	const files, size = 400, 8 << 20 // which are sparse
	for i := range files {
		name := filepath.Join(a.dir, fmt.Sprint(i))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return a.trim(time.Now(), artefactsLimit) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(a.dir); err != nil || len(left) == 0 || len(left)*size > artefactsLimit {
		t.Errorf("%d are left, %v", len(left), err)
	}
}

// Of those who need the modules of an image in memory some wait; not so who needs files
// that are there.
func TestBuildsTakeTurns(t *testing.T) {
	t.Parallel()
	t1 := make(turns, 1)
	a := newArtefacts(t.TempDir(), t1)
	leave, err := t1.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files := Boot{Kernel: filepath.Join(a.dir, "k"), Initrd: filepath.Join(a.dir, "i")}
	ended := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	built := make(chan error)
	go func() { built <- a.build(ctx, &boot{}, nil, files) }() // ends below; it would fail at once
	cancel(ended)
	if err := <-built; !errors.Is(err, ended) {
		t.Errorf("without a turn: %v", err)
	}
	for _, name := range []string{files.Kernel, files.Initrd} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.build(t.Context(), &boot{}, nil, files); err != nil {
		t.Errorf("files that are there: %v", err)
	}
	leave()
	if _, err := t1.take(t.Context()); err != nil {
		t.Error(err)
	}
}

// What kernels and initramfs may take of the disk ends where it does for images: the rest
// of the server does not survive a full one.
func TestArtefactsLeaveRoom(t *testing.T) {
	t.Parallel()
	a := newArtefacts(t.TempDir(), nil)
	fill := func(w io.Writer) error {
		_, err := w.Write([]byte("kernel"))
		return err
	}
	name := filepath.Join(a.dir, "k")
	a.disk.Floor = 1 << 60
	if err := a.disk.WriteFile(name, a.dir, fill); content.DiskFull(err) == nil {
		t.Errorf("on a full disk: %v", err)
	}
	if left, err := os.ReadDir(a.dir); err != nil || len(left) > 0 {
		t.Errorf("something is left: %v, %v", left, err)
	}
	a.disk.Floor = 0
	if err := a.disk.WriteFile(name, a.dir, fill); err != nil {
		t.Error(err)
	}
}
