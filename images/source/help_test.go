package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/content"
	"walt/images/imagetest"
)

// What images are made of, and where they come from.
var (
	regular      = imagetest.Regular
	symlink      = imagetest.Symlink
	archived     = imagetest.Archive
	gzipLayer    = imagetest.GzipLayer
	image        = imagetest.Image
	pcImage      = imagetest.PCImage
	bigImage     = imagetest.BigImage
	digestOf     = imagetest.DigestOf
	layerDigest  = imagetest.LayerDigest
	push         = imagetest.Push
	serve        = imagetest.Serve
	until        = imagetest.Until
	closedPort   = imagetest.ClosedPort
	realRegistry = imagetest.RealRegistry
	newFaulty    = imagetest.NewRegistry
	asks         = imagetest.Asks
)

type faulty = imagetest.Registry

const pcDefault = "waltplatform/pc-x86-64-default"

// place is one location, and where its content goes.
type place struct {
	Location
	store *content.Store
	dir   string
	stall time.Duration
}

// newPlace is a place without a location.
func newPlace(t testing.TB) *place {
	t.Helper()
	dir := t.TempDir()
	store, err := content.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &place{store: store, dir: dir, stall: DefaultStall}
}

// use makes a registry the location, in which images for PCs are looked for.
func (p *place) use(c RegistryConfig) error {
	r, err := NewRegistry(c, p.store, func(context.Context, string, map[string]string) ([]Machine, error) {
		return []Machine{{Model: "pc-x86-64", Runs: []string{"linux/amd64"}}}, nil
	}, p.stall)
	p.Location = r
	return err
}

// lookIn makes a registry called lab the location.
func lookIn(t testing.TB, p *place, url string) {
	t.Helper()
	if err := p.use(RegistryConfig{Label: "lab", URL: url}); err != nil {
		t.Fatal(err)
	}
}

// inLab is a place whose location is an in-process registry.
func inLab(t testing.TB) (*place, *faulty, string) {
	t.Helper()
	p, f := newPlace(t), newFaulty()
	s := serve(t, f)
	lookIn(t, p, s.URL)
	return p, f, s.URL
}

// newDaemonPlace is a place whose location is a docker daemon of which nothing is known.
func newDaemonPlace(t testing.TB, host string) *place {
	t.Helper()
	p := newPlace(t)
	unknown := func(context.Context, string) (m content.Manifest, ok bool, err error) { return m, false, nil }
	d, err := NewDaemon(host, p.store, unknown, p.stall)
	if err != nil {
		t.Fatal(err)
	}
	p.Location = d
	return p
}

// fetch brings an image, <user>/<name>[:<tag>].
func (p *place) fetch(ctx context.Context, ref string, report func(Progress)) (Image, error) {
	name, tag, tagged := strings.Cut(ref, ":")
	if !tagged {
		tag = "latest"
	}
	i, err := p.Look(ctx, name, tag, "", func(note string) {
		if report != nil {
			report(Progress{Note: note})
		}
	})
	if err != nil {
		return Image{}, err
	}
	return i.Fetch(ctx, report)
}

// has reports whether a blob is here.
func has(p *place, h v1.Hash) bool {
	_, err := p.store.Read(content.Digest(h.String()))
	return err == nil
}

// leftovers are the temporary files of the store.
func leftovers(t testing.TB, p *place) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(p.dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isError(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// wantError fails unless err is an Error whose message has all the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an Error with %q", err, words)
	}
	for _, w := range words {
		if !strings.Contains(e.Msg, w) {
			t.Errorf("got %q, want something with %q", e.Msg, w)
		}
	}
}

func wantContent(t testing.TB, files fs.FS, name, want string) {
	t.Helper()
	if got, err := fs.ReadFile(files, name); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", name, got, err, want)
	}
}

// wantProgress fails unless what was reported goes up to the end, with a line for
// each of the layers.
func wantProgress(t testing.TB, seen []Progress, layers int) {
	t.Helper()
	var done int64
	for i, p := range seen {
		if p.Note != "" { // somebody is slow
			continue
		}
		if p.Layer != "" {
			if layers--; !p.Finished || p.Done != p.Total {
				t.Errorf("a layer is %+v", p)
			}
			continue
		}
		if p.Done < done || p.Done > p.Total || p.Finished != (i == len(seen)-1) {
			t.Errorf("after %d bytes of %d reports: %+v", done, len(seen), p)
		}
		done = p.Done
	}
	if layers != 0 || len(seen) == 0 {
		t.Errorf("%d layers were not reported: %+v", layers, seen)
	}
}
