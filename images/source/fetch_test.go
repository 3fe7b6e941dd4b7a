package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
)

func TestFetchDownloadsSharedLayersOnce(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	base := gzipLayer(t, regular("base", "1"))
	push(t, url, "bob/one", image(t, []v1.Layer{base, gzipLayer(t, regular("one", "1"))}, "walt.node.models", "x"))
	push(t, url, "bob/two", image(t, []v1.Layer{base, base, gzipLayer(t, regular("two", "2"))}, "walt.node.models", "x"))
	var downloads []int64
	for _, ref := range []string{"bob/one", "bob/two"} {
		f.Blobs.Store(0)
		if _, err := l.fetch(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
		downloads = append(downloads, f.Blobs.Load())
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
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
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
		_, err := l.fetch(impatient, pcDefault, waits())
		first <- err
	}()
	until(t, "the first download", func() bool { return waiting.Load() == 1 })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := l.fetch(t.Context(), pcDefault, waits()); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "the others", func() bool { return waiting.Load() == 5 })
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) || isError(err) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	wg.Wait()
	if n := f.Blobs.Load(); n != 2 {
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
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
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
	if _, err := l.fetch(ctx, pcDefault, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-gone
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := l.store.Tree(t.Context(), content.Digest(digestOf(t, img))); err == nil {
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
	img := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), big}, "walt.node.models", "pc-x86-64")
	push(t, url, pcDefault, img)
	whole, cut := layerDigest(t, img, 0), layerDigest(t, img, 1)
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
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
	_, err = l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab ("+url+")", "broke the connection")
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	f.Break(nil)
	f.Blobs.Store(0)
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil {
		t.Fatal(err)
	}
	if n := f.Blobs.Load(); n != 1 {
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
			f.Break(func(w http.ResponseWriter, r *http.Request) bool {
				if !asks(r, layer) {
					return false
				}
				rec := httptest.NewRecorder()
				f.Handler.ServeHTTP(rec, r)
				w.Write(body(rec.Body.Bytes()))
				return true
			})
			_, err := l.fetch(t.Context(), pcDefault, nil)
			wantError(t, err, "registry lab", layer.String(), "does not match its digest")
			if has(l, layer) {
				t.Error("the content is visible")
			}
			if left := leftovers(t, l); len(left) > 0 {
				t.Errorf("%v was left", left)
			}
		})
	}
}

// All who wait for a download see how far it is; one who is slow delays nobody.
func TestProgressForAll(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := bigImage(t)
	push(t, url, pcDefault, img)
	layer, release := layerDigest(t, img, 0), make(chan struct{})
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !asks(r, layer) {
			return false
		}
		rec := httptest.NewRecorder()
		f.Handler.ServeHTTP(rec, r)
		b := rec.Body.Bytes()
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		<-release
		w.Write(b[len(b)/2:])
		return true
	})
	var slow, others sync.WaitGroup
	var half atomic.Int64
	block := make(chan struct{})
	fetch := func(wg *sync.WaitGroup, stop <-chan struct{}) {
		wg.Go(func() {
			var seen []Progress
			_, err := l.fetch(t.Context(), pcDefault, func(p Progress) {
				seen = append(seen, p)
				if len(seen) == 1 {
					half.Add(1)
					<-stop
				}
			})
			if err != nil {
				t.Error(err)
			}
			wantProgress(t, seen, 1)
		})
	}
	fetch(&slow, block)
	until(t, "the first to see half of it", func() bool { return half.Load() == 1 })
	free := make(chan struct{})
	close(free)
	for range 3 {
		fetch(&others, free)
	}
	until(t, "all to see half of it", func() bool { return half.Load() == 4 })
	close(release)
	others.Wait()
	close(block)
	slow.Wait()
}

// A registry that has too much to do is asked again when it says so.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, pcDefault, bigImage(t))
	var refused atomic.Int64
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		n := refused.Add(1)
		if n%2 == 0 {
			return false
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[n/2%2])
		return true
	})
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil || refused.Load() < 6 {
		t.Errorf("%d requests, %v", refused.Load(), err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for after, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "7": 7 * time.Second, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Sun, 06 Nov 1994 08:49:37 GMT": 0, "Fri, 31 Dec 9999 23:59:59 GMT": longAfter,
	} {
		resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {after}}}
		if got := askedPause(resp, now); got != want {
			t.Errorf("%q: %v", after, got)
		}
	}
}
