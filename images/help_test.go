package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
	"walt/images/content"
	"walt/images/imagetest"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// What layers are made of.
var (
	created = imagetest.Created
	regular = imagetest.Regular
	archive = imagetest.Archive
	symlink = imagetest.Symlink
	zip     = imagetest.Gzip
)

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

func gzipLayer(t testing.TB, entries ...*tar.Header) v1.Layer {
	t.Helper()
	return static.NewLayer(zip(t, archive(t, entries...)), types.OCILayer)
}

// image makes an image of the layers, with labels in pairs.
func image(t testing.TB, layers []v1.Layer, labels ...string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	config := &v1.ConfigFile{Architecture: "amd64", OS: "linux", Created: v1.Time{Time: created}}
	config.Config.Labels = map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		config.Config.Labels[labels[i]] = labels[i+1]
	}
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, id)
	}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// pcImage is a good image of one layer with the file etc/motd.
func pcImage(t testing.TB, motd string) v1.Image {
	t.Helper()
	return image(t, []v1.Layer{gzipLayer(t, regular("etc/motd", motd))}, modelsLabel, "pc-x86-64")
}

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// push writes an image or an index to the registry at an http address.
func push(t testing.TB, url, ref string, what remote.Taggable, options ...remote.Option) {
	t.Helper()
	_, host, _ := strings.Cut(url, "://")
	r, err := name.ParseReference(host+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(r, what, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(r, what, options...)
	default:
		err = remote.Put(r, what, options...)
	}
	if err != nil {
		t.Fatal(err)
	}
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

// serve starts a registry, or what takes itself for one.
func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// until polls for something that another goroutine brings about.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
