package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
)

const pcDefault = "waltplatform/pc-x86-64-default"

func layerDigest(t testing.TB, img v1.Image, n int) v1.Hash {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	h, err := layers[n].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inLab is a library that looks in an in-process registry.
func inLab(t testing.TB) (*testLibrary, *faulty, string) {
	t.Helper()
	l, f := newLibrary(t), newFaulty()
	s := serve(t, f)
	lookIn(t, l, s.URL)
	return l, f, s.URL
}

func TestFetch(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), gzipLayer(t, regular("b", "2"))},
		modelsLabel, " pc-x86-64, pc-x86-32 ,pc-x86-64", preferredLabel, "pc-default")
	push(t, url, pcDefault, img)

	got, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	m, _ := img.Manifest()
	for _, d := range append(m.Layers, m.Config) {
		size += d.Size
	}
	raw, _ := img.RawManifest()
	want := Image{
		Ref: DefaultRef("pc-x86-64"), Digest: digestOf(t, img), Models: []Model{"pc-x86-64", "pc-x86-32"},
		Preferred: "pc-default", Created: created, Size: size + int64(len(raw)),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	tree, err := l.Files(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "a", "1")
	wantContent(t, tree, "b", "2")

	before := f.blobs.Load()
	if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil); err != nil || f.blobs.Load() != before {
		t.Errorf("what is here was downloaded again, %v", err)
	}
}

func TestFetchDownloadsSharedLayersOnce(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	base := gzipLayer(t, regular("base", "1"))
	push(t, url, "bob/one", image(t, []v1.Layer{base, gzipLayer(t, regular("one", "1"))}, modelsLabel, "x"))
	push(t, url, "bob/two", image(t, []v1.Layer{base, base, gzipLayer(t, regular("two", "2"))}, modelsLabel, "x"))
	var downloads []int64
	for _, ref := range []string{"bob/one", "bob/two"} {
		f.blobs.Store(0)
		if _, err := l.Fetch(t.Context(), mustRef(t, ref), nil); err != nil {
			t.Fatal(err)
		}
		downloads = append(downloads, f.blobs.Load())
	}
	if want := []int64{3, 2}; !slices.Equal(downloads, want) { // a config and the layers that are not here
		t.Errorf("%v downloads, want %v", downloads, want)
	}
}

func TestFetchManyAtOnceDownloadsOnce(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := bigImage(t)
	push(t, url, pcDefault, img)
	layer, release := layerDigest(t, img, 0), make(chan struct{})
	f.make(func(w http.ResponseWriter, r *http.Request) bool {
		if !asks(r, layer) {
			return false
		}
		rec := httptest.NewRecorder()
		f.Handler.ServeHTTP(rec, r)
		b := rec.Body.Bytes()
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		<-release
		w.Write(b[len(b)/2:])
		return true
	})
	var waiting atomic.Int64
	waits := func() func(Progress) { // is told once half of it is here
		var once sync.Once
		return func(Progress) { once.Do(func() { waiting.Add(1) }) }
	}
	impatient, leave := context.WithCancel(t.Context())
	defer leave()
	first := make(chan error, 1)
	go func() {
		_, err := l.Fetch(impatient, DefaultRef("pc-x86-64"), waits())
		first <- err
	}()
	until(t, "the first download", func() bool { return waiting.Load() == 1 })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), waits()); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "the others", func() bool { return waiting.Load() == 5 })
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) || fault.As(err) != nil {
		t.Errorf("who left got %v", err)
	}
	close(release)
	wg.Wait()
	if n := f.blobs.Load(); n != 2 {
		t.Errorf("%d downloads, want the config and the layer", n)
	}
}

func TestFetchCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := pcImage(t, "hello")
	push(t, url, pcDefault, img)
	ctx, cancel := context.WithCancel(t.Context())
	layer, gone := layerDigest(t, img, 0), make(chan struct{})
	f.make(func(w http.ResponseWriter, r *http.Request) bool {
		if asks(r, layer) {
			w.Write([]byte("begin"))
			w.(http.Flusher).Flush()
			cancel()
			<-r.Context().Done()
			close(gone)
			return true
		}
		return false
	})
	if _, err := l.Fetch(ctx, DefaultRef("pc-x86-64"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-gone
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := l.Files(t.Context(), digestOf(t, img)); err == nil {
		t.Error("the image is visible")
	}
}

func TestFetchResumesFromWholeLayers(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	big, err := random.Layer(1<<20, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	img := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), big}, modelsLabel, "pc-x86-64")
	push(t, url, pcDefault, img)
	whole, cut := layerDigest(t, img, 0), layerDigest(t, img, 1)
	f.make(func(w http.ResponseWriter, r *http.Request) bool {
		if !asks(r, cut) {
			return false
		}
		until(t, "the other layer", func() bool { return has(l, whole) })
		rec := httptest.NewRecorder()
		f.Handler.ServeHTTP(rec, r)
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	})
	_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	wantFault(t, err, pcDefault, "registry lab ("+url+")", "broke the connection")
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	f.trouble.Store(nil)
	f.blobs.Store(0)
	if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil); err != nil {
		t.Fatal(err)
	}
	if n := f.blobs.Load(); n != 1 {
		t.Errorf("the second try downloaded %d blobs, want the one that was cut", n)
	}
}

func TestFetchRefusesOtherContent(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func(good []byte) []byte{
		"changed": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"longer":  func(b []byte) []byte { return append(b, 'x') },
		"shorter": func(b []byte) []byte { return b[:len(b)-1] },
		"empty":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f, url := inLab(t)
			img := pcImage(t, "hello")
			push(t, url, pcDefault, img)
			layer := layerDigest(t, img, 0)
			f.make(func(w http.ResponseWriter, r *http.Request) bool {
				if !asks(r, layer) {
					return false
				}
				rec := httptest.NewRecorder()
				f.Handler.ServeHTTP(rec, r)
				w.Write(body(rec.Body.Bytes()))
				return true
			})
			_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
			wantFault(t, err, pcDefault, "registry lab", layer.String(), "does not match its digest")
			if has(l, layer) {
				t.Error("the content is visible")
			}
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("%v was left", left)
			}
		})
	}
}

func TestRegistriesAreAskedInOrder(t *testing.T) {
	t.Parallel()
	first, second := newFaulty(), newFaulty()
	one, two := serve(t, first), serve(t, second)
	down := "http://" + closedPort(t)
	push(t, two.URL, "bob/both", pcImage(t, "second"))
	push(t, two.URL, "bob/only-second", pcImage(t, "second"))
	push(t, one.URL, "bob/both", pcImage(t, "first"))
	push(t, one.URL, "bob/broken", image(t, nil, modelsLabel, "x"))
	push(t, two.URL, "bob/broken", pcImage(t, "second"))

	l := newLibrary(t)
	err := l.SetRegistries([]Registry{{Label: "down", URL: down}, {Label: "one", URL: one.URL}, {Label: "two", URL: two.URL}})
	if err != nil {
		t.Fatal(err)
	}
	for ref, motd := range map[string]string{"bob/both": "first", "bob/only-second": "second"} {
		img, err := l.Fetch(t.Context(), mustRef(t, ref), nil)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree, "etc/motd", motd)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/nowhere"), nil)
	wantFault(t, err, "image bob/nowhere", "registry down ("+down+") cannot be reached: connection refused",
		"registry one ("+one.URL+") does not have it", "registry two ("+two.URL+") does not have it")
	// the first that has it counts
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/broken"), nil)
	wantFault(t, err, "the one in registry one", "has no layers")
	if strings.Contains(fault.As(err).Msg, "registry two") {
		t.Errorf("the second registry was asked: %v", err)
	}

	if err := l.SetRegistries(nil); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/both"), nil)
	wantFault(t, err, "no registry is configured")
}

// closedPort is an address on which nothing listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestOpenRemovesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	digest := keep(t, l, archive(t, regular("a", "1")))
	if err := os.WriteFile(filepath.Join(l.dir, "tmp", "123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(l.dir, l.store, l.log, l.platforms, l.now)
	if err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, &testLibrary{Library: again, dir: l.dir}); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := again.Files(t.Context(), digest); err != nil {
		t.Error(err)
	}
	_, err = Open("/dev/null/images", l.store, l.log, l.platforms, l.now)
	wantFault(t, err, "/dev/null/images", "cannot be used")
}

func TestAddressesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, url := range []string{"127.0.0.1:5000", "ftp://x", "http://", "http://user:secret@", "http://a b", "://"} {
		err := l.SetRegistries([]Registry{{Label: "lab", URL: url}})
		if err == nil || fault.As(err) != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an error that shows no password", url, err)
		}
	}
}
