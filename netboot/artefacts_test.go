package netboot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
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
		g.Go(func() error { return a.trim(time.Now()) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(a.dir); err != nil || len(left) == 0 || len(left)*size > artefactsLimit {
		t.Errorf("%d are left, %v", len(left), err)
	}
}
