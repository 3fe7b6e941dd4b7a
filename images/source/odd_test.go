package source

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// changed passes what the registry answers to a function that changes it.
func changed(f *faulty, change func(r *http.Request, rec *httptest.ResponseRecorder) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.ServeHTTP(rec, r)
		body := change(r, rec)
		for name, values := range rec.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	})
}

// Registries that are not quite like others have images all the same.
func TestOddRegistries(t *testing.T) {
	t.Parallel()
	is := func(r *http.Request, what string) bool { return strings.Contains(r.URL.Path, what) }
	same := func(rec *httptest.ResponseRecorder) []byte { return rec.Body.Bytes() }
	for name, change := range map[string]func(r *http.Request, rec *httptest.ResponseRecorder) []byte{
		"no digest header": func(_ *http.Request, rec *httptest.ResponseRecorder) []byte {
			rec.Header().Del("Docker-Content-Digest")
			return same(rec)
		},
		"everything is JSON": func(_ *http.Request, rec *httptest.ResponseRecorder) []byte {
			rec.Header().Set("Content-Type", "application/json; charset=utf-8")
			return same(rec)
		},
		"everything is text": func(_ *http.Request, rec *httptest.ResponseRecorder) []byte {
			rec.Header().Set("Content-Type", "text/plain")
			return same(rec)
		},
		"packed without being asked": func(r *http.Request, rec *httptest.ResponseRecorder) []byte {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("%s was asked for with %q", r.URL.Path, r.Header)
			}
			config := is(r, "/blobs/") && strings.HasPrefix(rec.Body.String(), "{")
			if !config && is(r, "/blobs/") {
				return same(rec)
			}
			rec.Header().Set("Content-Encoding", "gzip")
			var b strings.Builder
			z := gzip.NewWriter(&b)
			z.Write(rec.Body.Bytes())
			z.Close()
			return []byte(b.String())
		},
		"said to be packed": func(_ *http.Request, rec *httptest.ResponseRecorder) []byte {
			rec.Header().Set("Content-Encoding", "gzip")
			return same(rec)
		},
		"nothing at /v2/": func(r *http.Request, rec *httptest.ResponseRecorder) []byte {
			if r.URL.Path == "/v2/" {
				rec.Code = http.StatusNotFound
			}
			return same(rec)
		},
	} {
		for _, typed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, typed %v", name, typed), func(t *testing.T) {
				t.Parallel()
				f := newFaulty()
				s := serve(t, changed(f, change))
				img := pcImage(t, "hello")
				index := v1.ImageIndex(mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
					mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}}))
				plain := serve(t, f)
				push(t, plain.URL, "bob/one", img)
				push(t, plain.URL, "bob/list", index)
				if !typed {
					push(t, plain.URL, "bob/one", untyped{img})
					push(t, plain.URL, "bob/list", untyped{index})
				}
				l := newPlace(t)
				if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: "bob"}); err != nil {
					t.Fatal(err)
				}
				for _, ref := range []string{"bob/one", "bob/list"} {
					i, err := l.fetch(t.Context(), ref, nil)
					if err != nil || (i.Variant == "linux/amd64") != (ref == "bob/list") {
						t.Errorf("%s: %+v, %v", ref, i, err)
					}
				}
				found, err := search(t, l, Query{})
				if err != nil || !slices.Equal(found, []string{"bob/list", "bob/one"}) {
					t.Errorf("found %v, %v", found, err)
				}
			})
		}
	}
}

// untyped is a manifest that does not say what it is, nor what its parts are.
type untyped struct {
	of interface{ RawManifest() ([]byte, error) }
}

func (u untyped) RawManifest() ([]byte, error) {
	raw, err := u.of.RawManifest()
	for _, kind := range []types.MediaType{types.OCIManifestSchema1, types.OCIImageIndex, types.DockerManifestSchema2, types.DockerManifestList} {
		raw = []byte(strings.ReplaceAll(string(raw), fmt.Sprintf(`"mediaType":%q,`, kind), ""))
	}
	return raw, err
}

func (u untyped) MediaType() (types.MediaType, error) {
	if _, list := u.of.(v1.ImageIndex); list {
		return types.OCIImageIndex, nil
	}
	return types.OCIManifestSchema1, nil
}

// Where HEAD is not understood, what is there is found out otherwise.
func TestPushWithoutHead(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusNotImplemented} {
		f, uploads := newFaulty(), 0
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodHead:
				w.WriteHeader(status)
				return
			case http.MethodPost:
				uploads++
			}
			f.ServeHTTP(w, r)
		}))
		l, m := stored(t)
		layer, err := l.store.Read(m.Layers[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost,
			"/v2/bob/os/blobs/uploads/?digest="+string(m.Layers[0].Digest), strings.NewReader(string(layer))))
		lookIn(t, l, s.URL)
		if err := l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", nil); err != nil || uploads != 1 {
			t.Errorf("%d: %d uploads, %v, want that of the config", status, uploads, err)
		}
	}
}

// Behind a proxy a registry may not know by which scheme it is reached.
func TestPushBehindProxy(t *testing.T) {
	t.Parallel()
	f := newFaulty()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.ServeHTTP(rec, r)
		if at := rec.Header().Get("Location"); at != "" {
			w.Header().Set("Location", "http://"+r.Host+at)
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	l, m := stored(t)
	pool := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, CA: pool}); err != nil {
		t.Fatal(err)
	}
	if err := l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
		t.Error(err)
	}
}

// A search shows what there is, and says what it could not look at.
func TestSearchWithHiccups(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	var want []string
	for n := range 40 {
		name := fmt.Sprintf("bob/os-%02d", n)
		push(t, url, name, pcImage(t, "x"))
		want = append(want, name)
	}
	fails := func(paths ...string) {
		f.Break(func(w http.ResponseWriter, r *http.Request) bool {
			for _, p := range paths {
				if strings.HasSuffix(r.URL.Path, p) {
					w.WriteHeader(http.StatusInternalServerError)
					return true
				}
			}
			return false
		})
	}
	fails("/bob/os-07/tags/list")
	found, err := search(t, l, Query{})
	wantError(t, err, "registry lab ("+url+") answered 500 Internal Server Error, at bob/os-07")
	if !slices.Equal(found, slices.Delete(slices.Clone(want), 7, 8)) {
		t.Errorf("found %v", found)
	}
	fails("/bob/os-07/tags/list", "/bob/os-08/manifests/latest")
	found, err = search(t, l, Query{})
	wantError(t, err, "and 1 more")
	if len(found) != 38 {
		t.Errorf("found %v", found)
	}
	fails("/tags/list") // all of them: it is left alone after some
	found, err = search(t, l, Query{})
	wantError(t, err, "answered 500 Internal Server Error, at bob/os-", "the rest was left out")
	if len(found) > 0 {
		t.Errorf("found %v", found)
	}

	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/_catalog":
			w.WriteHeader(http.StatusNotImplemented)
		case strings.HasSuffix(r.URL.Path, "/bob/os-02/tags/list"):
			io.WriteString(w, `{"name":"bob/os-02","tags":null}`)
		default:
			return false
		}
		return true
	})
	if found, err := search(t, l, ParseQuery("bob/os-01:la")); err != nil || !slices.Equal(found, []string{"bob/os-01"}) {
		t.Errorf("by its full name: %v, %v", found, err)
	}
	if found, err := search(t, l, ParseQuery("bob/os-02")); err != nil || len(found) > 0 {
		t.Errorf("without tags: %v, %v", found, err)
	}
	_, err = search(t, l, ParseQuery("os-01"))
	wantError(t, err, "registry lab ("+url+") cannot list its images")
}

// search returns the repositories that a location finds, in order.
func search(t *testing.T, at Location, q Query) (found []string, err error) {
	t.Helper()
	var mu sync.Mutex // several repositories are looked into at once
	err = at.Search(t.Context(), q, func(i Image) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, i.Repository)
	}, func(string) {})
	slices.Sort(found)
	return found, err
}
