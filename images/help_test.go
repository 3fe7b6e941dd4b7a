package images

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
	"walt/images/content"
	"walt/images/imagetest"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// What images are made of, and where they come from.
var (
	created      = imagetest.Created
	zip          = imagetest.Gzip
	regular      = imagetest.Regular
	hardlink     = imagetest.Hardlink
	archive      = imagetest.Archive
	gzipLayer    = imagetest.GzipLayer
	tarLayer     = imagetest.TarLayer
	image        = imagetest.Image
	pcImage      = imagetest.PCImage
	digestOf     = imagetest.DigestOf
	layerDigest  = imagetest.LayerDigest
	push         = imagetest.Push
	serve        = imagetest.Serve
	closedPort   = imagetest.ClosedPort
	realRegistry = imagetest.RealRegistry
	part         = imagetest.Part
	newFaulty    = imagetest.NewRegistry
	asks         = imagetest.Asks
	short        = imagetest.ShortDir
	dockerd      = imagetest.Dockerd
	podman       = imagetest.Podman
	load         = imagetest.Load
)

type faulty = imagetest.Registry

// testLibrary is a Library that knows where its content is, and how much later
// it is for it than for others.
type testLibrary struct {
	*Library
	dir  string
	late *atomic.Int64
}

// later makes it later for the library.
func later(l *testLibrary, d time.Duration) { l.late.Store(int64(d)) }

func newLibrary(t testing.TB) *testLibrary {
	t.Helper()
	var late atomic.Int64
	l := newLibraryAt(t, func() time.Time { return time.Now().Add(time.Duration(late.Load())) })
	l.late = &late
	return l
}

// newLibraryAt is a library for which it is what the function says.
func newLibraryAt(t testing.TB, now func() time.Time) *testLibrary {
	t.Helper()
	store, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	dir := t.TempDir()
	l, err := Open(dir, store, journal.New(store, time.Now), KnownPlatforms(), now)
	if err != nil {
		t.Fatal(err)
	}
	return &testLibrary{Library: l, dir: dir}
}

func update(t testing.TB, l *testLibrary, f func(tx state.Tx) error) {
	t.Helper()
	if _, err := l.store.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// lookIn makes the library use one registry, called lab.
func lookIn(t testing.TB, l *testLibrary, url string) {
	t.Helper()
	if err := l.SetRegistries([]Registry{{Label: "lab", URL: url}}); err != nil {
		t.Fatal(err)
	}
}

func mustRef(t testing.TB, s string) Ref {
	t.Helper()
	ref, err := ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// keep stores the layers as they are and a manifest of them, without any registry.
func keep(t testing.TB, l *testLibrary, layers ...[]byte) (digest string) {
	t.Helper()
	add := func(b []byte) content.Blob {
		d := content.Blob{Digest: content.Sum(b), Size: int64(len(b)), MediaType: string(types.OCILayer)}
		if err := l.content.Add(d, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	var list []string
	for _, b := range layers {
		d := add(b)
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size))
	}
	return string(add([]byte(`{"layers":[` + strings.Join(list, ",") + `]}`)).Digest)
}

func wantContent(t testing.TB, files fs.FS, name, want string) {
	t.Helper()
	if got, err := fs.ReadFile(files, name); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", name, got, err, want)
	}
}

// has reports whether a blob is here.
func has(l *testLibrary, h v1.Hash) bool {
	_, err := l.content.Read(content.Digest(h.String()))
	return err == nil
}

// leftovers are the temporary files of a library.
func leftovers(t testing.TB, l *testLibrary) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(l.dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantFault fails unless err is a fault whose message has all the words.
func wantFault(t testing.TB, err error, words ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want a fault with %q", err, words)
	}
	for _, w := range words {
		if !strings.Contains(f.Msg, w) {
			t.Errorf("got %q, want something with %q", f.Msg, w)
		}
	}
}

// untold is for tests that nobody waits for.
func untold(string) {}
