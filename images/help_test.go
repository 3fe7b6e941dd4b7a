package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
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
	"walt/journal"
	"walt/state/badger"
)

var created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func newLibrary(t testing.TB) *Library {
	t.Helper()
	store, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l, err := Open(t.TempDir(), store, journal.New(store, time.Now), KnownPlatforms(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// lookIn makes the library use one registry, called lab.
func lookIn(t testing.TB, l *Library, url string) {
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

// file and the other functions below are entries of layers.
func regular(name, content string) *tar.Header {
	return &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: created,
		PAXRecords: map[string]string{"TEST.content": content},
	}
}

func directory(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: created}
}

func symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: created}
}

func hardlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, ModTime: created}
}

// archive makes a tar archive of the entries.
func archive(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := *e
		content := h.PAXRecords["TEST.content"]
		h.PAXRecords = nil
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
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
func keep(t testing.TB, l *Library, layers ...[]byte) (digest string) {
	t.Helper()
	add := func(b []byte) v1.Descriptor {
		h, n, _ := v1.SHA256(bytes.NewReader(b))
		d := v1.Descriptor{Digest: h, Size: n, MediaType: types.OCILayer}
		if err := l.content.add(d, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	var list []string
	for _, b := range layers {
		d := add(b)
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size))
	}
	return add([]byte(`{"layers":[` + strings.Join(list, ",") + `]}`)).Digest.String()
}

// files are the merged files of the layers.
func files(t testing.TB, l *Library, layers ...[]byte) *Tree {
	t.Helper()
	tree, err := l.Files(t.Context(), keep(t, l, layers...))
	if err != nil {
		t.Fatal(err)
	}
	return tree.(*Tree)
}

// leftovers are the temporary files of a library.
func leftovers(t testing.TB, l *Library) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(l.content.tmp())
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
