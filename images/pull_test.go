package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/fault"
)

const pcDefault = "waltplatform/pc-x86-64-default"

// faulty is an in-process registry whose downloads go wrong as trouble says.
type faulty struct {
	http.Handler
	// trouble may answer a GET itself, and then returns true.
	trouble atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	blobs   atomic.Int64 // that were asked for
}

func newFaulty() *faulty {
	return &faulty{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
}

func (f *faulty) make(trouble func(w http.ResponseWriter, r *http.Request) bool) {
	f.trouble.Store(&trouble)
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if strings.Contains(r.URL.Path, "/blobs/") {
			f.blobs.Add(1)
		}
		if trouble := f.trouble.Load(); trouble != nil && (*trouble)(w, r) {
			return
		}
	}
	f.Handler.ServeHTTP(w, r)
}

// asks reports whether a request is for the blob.
func asks(r *http.Request, h v1.Hash) bool { return strings.HasSuffix(r.URL.Path, "/blobs/"+h.String()) }

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
func inLab(t testing.TB) (*Library, *faulty, string) {
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

	got, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	m, _ := img.Manifest()
	for _, d := range append(m.Layers, m.Config) {
		size += d.Size
	}
	raw, _ := img.RawManifest()
	want := Image{Ref: DefaultRef("pc-x86-64"), Digest: digestOf(t, img), Models: []string{"pc-x86-64", "pc-x86-32"},
		Preferred: "pc-default", Created: created, Size: size + int64(len(raw))}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	tree, err := l.Files(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree.(*Tree), "a", "1")
	wantContent(t, tree.(*Tree), "b", "2")

	before := f.blobs.Load()
	if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64")); err != nil || f.blobs.Load() != before {
		t.Errorf("what is here was downloaded again, %v", err)
	}
}

func TestFetchOfContentThatIsShared(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	base := gzipLayer(t, regular("base", "1"))
	push(t, url, "bob/one", image(t, []v1.Layer{base, gzipLayer(t, regular("one", "1"))}, modelsLabel, "x"))
	push(t, url, "bob/two", image(t, []v1.Layer{base, base, gzipLayer(t, regular("two", "2"))}, modelsLabel, "x"))
	for ref, want := range map[string]int64{"bob/one": 3, "bob/two": 2} { // a config and layers
		f.blobs.Store(0)
		if ref == "bob/two" {
			if _, err := l.Fetch(t.Context(), mustRef(t, "bob/one")); err != nil {
				t.Fatal(err)
			}
			f.blobs.Store(0)
		}
		if _, err := l.Fetch(t.Context(), mustRef(t, ref)); err != nil {
			t.Fatal(err)
		}
		if ref == "bob/two" && f.blobs.Load() != want {
			t.Errorf("%s took %d downloads, want %d", ref, f.blobs.Load(), want)
		}
	}
}

func TestFetchManyAtOnceDownloadsOnce(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := pcImage(t, "hello")
	push(t, url, pcDefault, img)
	layer, release := layerDigest(t, img, 0), make(chan struct{})
	f.make(func(_ http.ResponseWriter, r *http.Request) bool {
		if asks(r, layer) {
			<-release
		}
		return false
	})
	key := l.sources[0].String() + " " + layer.String()
	waiting := func() int {
		l.downloads.mu.Lock()
		defer l.downloads.mu.Unlock()
		if c := l.downloads.calls[key]; c != nil {
			return c.waiting
		}
		return 0
	}
	impatient, leave := context.WithCancel(t.Context())
	defer leave()
	first := make(chan error, 1)
	go func() {
		_, err := l.Fetch(impatient, DefaultRef("pc-x86-64"))
		first <- err
	}()
	until(t, "the first download", func() bool { return waiting() == 1 })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64")); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "the others", func() bool { return waiting() == 5 })
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
	if _, err := l.Fetch(ctx, DefaultRef("pc-x86-64")); !errors.Is(err, context.Canceled) {
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
		until(t, "the other layer", func() bool { _, err := os.Stat(l.content.blob(whole)); return err == nil })
		rec := httptest.NewRecorder()
		f.Handler.ServeHTTP(rec, r)
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	})
	_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, pcDefault, "registry lab ("+url+")", "broke the connection")
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	f.trouble.Store(nil)
	f.blobs.Store(0)
	if _, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64")); err != nil {
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
			_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
			wantFault(t, err, pcDefault, "registry lab", layer.String(), "does not match its digest")
			if _, err := os.Stat(l.content.blob(layer)); err == nil {
				t.Error("the content is visible")
			}
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("%v was left", left)
			}
		})
	}
}

func TestFetchOfWhatIsNoImageForNodes(t *testing.T) {
	t.Parallel()
	layer := gzipLayer(t, regular("a", "1"))
	odd := static.NewLayer([]byte("?"), "application/x-odd")
	noPC := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: pcImage(t, "x"),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	for name, test := range map[string]struct {
		push  any
		words []string
	}{
		"no label":       {image(t, []v1.Layer{layer}), []string{"no label walt.node.models"}},
		"empty label":    {image(t, []v1.Layer{layer}, modelsLabel, " , "), []string{"no label walt.node.models"}},
		"bad label":      {image(t, []v1.Layer{layer}, modelsLabel, "ok,Not OK"), []string{"walt.node.models", `"Not OK"`}},
		"zero layers":    {image(t, nil, modelsLabel, "x"), []string{"has no layers"}},
		"odd layer":      {image(t, []v1.Layer{odd}, modelsLabel, "x"), []string{"a layer of the kind", "x-odd"}},
		"odd config":     {mutate.ConfigMediaType(pcImage(t, "x"), "application/x-chart"), []string{"a config of the kind", "x-chart"}},
		"no variant":     {noPC, []string{"no linux variant for amd64", "s390x"}},
		"old schema":     {types.DockerManifestSchema1Signed, []string{"is of the kind", "manifest.v1+prettyjws"}},
		"not a manifest": {types.OCIManifestSchema1, []string{"manifest that is not valid"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f, url := inLab(t)
			switch what := test.push.(type) {
			case v1.Image:
				push(t, url, pcDefault, what)
			case v1.ImageIndex:
				push(t, url, pcDefault, what)
			case types.MediaType:
				f.make(func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, "/manifests/") {
						w.Header().Set("Content-Type", string(what))
						io.WriteString(w, "[]")
					}
					return strings.Contains(r.URL.Path, "/manifests/")
				})
			}
			_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
			wantFault(t, err, append(test.words, pcDefault, "registry lab ("+url+")")...)
			if n := f.blobs.Load(); n > 1 {
				t.Errorf("%d blobs were downloaded before it was refused", n)
			}
		})
	}
}

func TestPreferredName(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	for label, want := range map[string]string{"pc-default": "pc-default", "Not valid": "", "default": "", "pc:1": "", "": ""} {
		push(t, url, "bob/x", image(t, []v1.Layer{gzipLayer(t, regular("a", label))}, modelsLabel, "pc-x86-64", preferredLabel, label))
		img, err := l.Fetch(t.Context(), mustRef(t, "bob/x"))
		if err != nil || img.Preferred != want {
			t.Errorf("%q became %q, %v, want %q", label, img.Preferred, err, want)
		}
	}
}

func TestManifestList(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	variant := func(arch string) mutate.IndexAddendum {
		img := image(t, []v1.Layer{gzipLayer(t, regular("arch", arch))}, modelsLabel, "x")
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	index := mutate.AppendManifests(empty.Index, variant("s390x"), variant("arm64"), variant("amd64"), variant("arm"))
	for ref, arch := range map[string]string{pcDefault: "amd64", "waltplatform/rpi-3-b-default": "arm"} {
		push(t, url, ref, index)
		img, err := l.Fetch(t.Context(), mustRef(t, ref))
		if err != nil {
			t.Fatal(err)
		}
		if digestOf(t, index) == img.Digest {
			t.Error("the digest is that of the list")
		}
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree.(*Tree), "arch", arch)
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
		img, err := l.Fetch(t.Context(), mustRef(t, ref))
		if err != nil {
			t.Fatal(err)
		}
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, tree.(*Tree), "etc/motd", motd)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/nowhere"))
	wantFault(t, err, "image bob/nowhere", "registry down ("+down+") cannot be reached: connection refused",
		"registry one ("+one.URL+") does not have it", "registry two ("+two.URL+") does not have it")
	// the first that has it counts
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/broken"))
	wantFault(t, err, "the one in registry one", "has no layers")
	if strings.Contains(fault.As(err).Msg, "registry two") {
		t.Errorf("the second registry was asked: %v", err)
	}

	if err := l.SetRegistries(nil); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), mustRef(t, "bob/both"))
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

func TestFetchDoesNotHang(t *testing.T) {
	t.Parallel()
	img := pcImage(t, "hello")
	for name, hangs := range map[string]func(r *http.Request) bool{
		"at the handshake": func(r *http.Request) bool { return r.URL.Path == "/v2/" },
		"at the manifest":  func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") },
		"at a layer":       func(r *http.Request) bool { return asks(r, layerDigest(t, img, 0)) },
	} {
		for _, headers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, headers %v", name, headers), func(t *testing.T) {
				t.Parallel()
				l, f, url := inLab(t)
				push(t, url, pcDefault, img)
				l.stall = 50 * time.Millisecond
				lookIn(t, l, url)
				f.make(func(w http.ResponseWriter, r *http.Request) bool {
					if !hangs(r) {
						return false
					}
					if headers {
						w.Header().Set("Content-Length", "1000")
						w.WriteHeader(http.StatusOK)
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
					return true
				})
				_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
				wantFault(t, err, "registry lab ("+url+") does not answer")
			})
		}
	}
	t.Run("before a word", func(t *testing.T) {
		t.Parallel()
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		for _, scheme := range []string{"http://", "https://"} {
			l := newLibrary(t)
			l.stall = 50 * time.Millisecond
			lookIn(t, l, scheme+silent.Addr().String())
			_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
			wantFault(t, err, "registry lab ("+scheme+silent.Addr().String()+") does not answer")
		}
	})
}

func TestStatusesAreExplained(t *testing.T) {
	t.Parallel()
	for status, words := range map[int]string{
		http.StatusNotFound:            "does not have it",
		http.StatusUnauthorized:        "needs a password",
		http.StatusForbidden:           "needs a password",
		http.StatusTooManyRequests:     "too many requests",
		http.StatusInternalServerError: "answered 500 Internal Server Error",
	} {
		l, f, url := inLab(t)
		f.make(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				http.Error(w, "secret <html>", status)
				return true
			}
			return false
		})
		_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
		wantFault(t, err, pcDefault, "registry lab ("+url+") "+words)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: the message repeats the answer: %v", status, err)
		}
	}
}

func TestMissingLayerIsExplained(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := pcImage(t, "x")
	push(t, url, pcDefault, img)
	f.make(func(w http.ResponseWriter, r *http.Request) bool {
		if asks(r, layerDigest(t, img, 0)) {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, "the one in registry lab", "lacks its part "+layerDigest(t, img, 0).String())
}

// Docker Hub gives everybody a token, and refuses it for what it does not have.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	var s *httptest.Server
	s = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			io.WriteString(w, `{"token":"t"}`)
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="s"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	lookIn(t, l, s.URL)
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, "registry lab", "does not have it, or shows it only to who has a password")
	if err := l.SetRegistries([]Registry{{Label: "lab", URL: s.URL, Username: "walt", Password: "wrong"}}); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, "refuses the user name or the password")
}

func TestFullDiskIsExplained(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, pcDefault, pcImage(t, "x"))
	l.content.floor = 1 << 60
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, pcDefault, "disk for images of this server is full")
	if f.blobs.Load() > 0 {
		t.Error("something was downloaded")
	}
	l.content.floor = 0
	img, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	if err != nil {
		t.Fatal(err)
	}
	l.content.floor = 1 << 60
	_, err = l.Files(t.Context(), img.Digest)
	wantFault(t, err, "disk for images of this server is full")
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestHugeManifestIsRefused(t *testing.T) {
	t.Parallel()
	l, f, _ := inLab(t)
	f.make(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		for r.Context().Err() == nil { // without end
			w.Write(make([]byte, 1<<16))
		}
		return true
	})
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"))
	wantFault(t, err, "a manifest of more than")
}

func TestOpenRemovesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	digest := keep(t, l, archive(t, regular("a", "1")))
	if err := os.WriteFile(filepath.Join(l.content.tmp(), "123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(l.content.dir, l.store, l.log, l.now)
	if err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, again); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := again.Files(t.Context(), digest); err != nil {
		t.Error(err)
	}
	_, err = Open("/dev/null/images", l.store, l.log, l.now)
	wantFault(t, err, "/dev/null/images", "cannot be used")
}

func TestAddressesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, url := range []string{"127.0.0.1:5000", "ftp://x", "http://", "http://user:secret@", "http://a b", "://"} {
		err := l.SetRegistries([]Registry{{Label: "lab", URL: url}})
		wantFault(t, err, "registry lab", "invalid")
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%v shows a password", err)
		}
	}
}
