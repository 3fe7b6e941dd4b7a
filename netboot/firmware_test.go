package netboot_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walt/images"
	"walt/images/content"
	"walt/netboot"
)

// meeting is a library in which those who hold an image wait a moment for each other.
type meeting struct {
	netboot.Library
	here, most atomic.Int32
}

func (m *meeting) Hold(ctx context.Context, digest string) (*content.Tree, images.Runtime, func(), error) {
	n := m.here.Add(1)
	for end := time.Now().Add(50 * time.Millisecond); n == 1 && m.here.Load() == 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n > m.most.Load() {
		m.most.Store(n)
	}
	tree, run, release, err := m.Library.Hold(ctx, digest)
	return tree, run, func() { m.here.Add(-1); release() }, err
}

// However many ask at once, the modules of one image are in memory.
func TestFirmwareIsReadInTurn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.Look(t.Context(), f.Images["red"], "pc-x86-64"); err != nil {
		t.Fatal(err)
	}
	m := &meeting{Library: f.Library}
	f.Config.Library = m
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			_, err := f.Firmware(t.Context(), f.Images["red"], "pc-x86-64")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if m.most.Load() != 1 {
		t.Errorf("%d read at once", m.most.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Firmware(ctx, f.Images["red"], "pc-x86-64"); err == nil {
		t.Error("who does not wait gets something all the same")
	}
}
