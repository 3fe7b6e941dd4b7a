package source

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/content"
)

// Who waits for a silent registry is told soon what for, and at the end what it was.
func TestSilentRegistryIsNamed(t *testing.T) {
	t.Parallel()
	img := bigImage(t)
	layer := layerDigest(t, img, 0)
	for step, hangs := range map[string]func(r *http.Request, m content.Manifest) bool{
		"logging in":                     func(r *http.Request, _ content.Manifest) bool { return r.URL.Path == "/v2/" },
		"reading the manifest of bob/os": func(r *http.Request, _ content.Manifest) bool { return strings.Contains(r.URL.Path, "/manifests/") },
		"reading the config of bob/os": func(r *http.Request, _ content.Manifest) bool {
			return strings.Contains(r.URL.Path, "/blobs/") && !asks(r, layer)
		},
		"downloading layer 1 of 1":   func(r *http.Request, _ content.Manifest) bool { return asks(r, layer) },
		"listing the images":         func(r *http.Request, _ content.Manifest) bool { return r.URL.Path == "/v2/_catalog" },
		"listing the tags of bob/os": func(r *http.Request, _ content.Manifest) bool { return strings.HasSuffix(r.URL.Path, "/tags/list") },
		"sending layer 1 of 1": func(r *http.Request, m content.Manifest) bool {
			return r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, string(m.Layers[0].Digest))
		},
		"sending the manifest": func(r *http.Request, _ content.Manifest) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
		"downloading layer 1 of 1, begun": func(r *http.Request, _ content.Manifest) bool { return asks(r, layer) },
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l, m := stored(t)
			f := newFaulty()
			push(t, serve(t, f).URL, "bob/os", img)
			step, begun := strings.CutSuffix(step, ", begun")
			s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !hangs(r, m) {
					f.ServeHTTP(w, r)
					return
				}
				if begun {
					rec := httptest.NewRecorder()
					f.ServeHTTP(rec, r)
					w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
					w.Write(rec.Body.Bytes()[:1000])
					w.(http.Flusher).Flush()
				}
				io.Copy(io.Discard, r.Body) // else the end of the connection is not seen
				<-r.Context().Done()
			}))
			if !strings.HasPrefix(step, "sending") {
				l = newPlace(t)
			}
			l.stall = 600 * time.Millisecond
			if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: "bob"}); err != nil {
				t.Fatal(err)
			}
			var told notes
			var err error
			switch word, _, _ := strings.Cut(step, " "); word {
			case "listing":
				err = l.Search(t.Context(), Query{}, func(Image) {}, told.tell)
			case "sending":
				err = l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", told.report)
			default:
				_, err = l.fetch(t.Context(), "bob/os", told.report)
			}
			at := "registry lab (" + s.URL + ")"
			wantError(t, err, at+" does not answer while "+step)
			if n := told.count("Waiting for " + at + ": " + step + "."); n != 1 {
				t.Errorf("told %q", told.told())
			}
		})
	}
}

// Before there is a connection the patience is shorter.
func TestSilentConnecting(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l := newPlace(t)
	l.stall = 300 * time.Millisecond
	url := "https://" + silent.Addr().String()
	lookIn(t, l, url)
	var told notes
	_, err = l.fetch(t.Context(), "bob/os", told.report)
	wantError(t, err, "registry lab ("+url+") does not answer while connecting")
	if n := told.count("Waiting for registry lab (" + url + "): connecting."); n != 1 {
		t.Errorf("told %q", told.told())
	}
}

// A registry that is slow, but at work, is not given up, and no word is lost about it.
func TestSlowRegistry(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	img := bigImage(t)
	push(t, url, "bob/os", img)
	layer := layerDigest(t, img, 0)
	l.stall = 3 * time.Second
	lookIn(t, l, url)
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !asks(r, layer) {
			return false
		}
		rec := httptest.NewRecorder()
		f.Handler.ServeHTTP(rec, r)
		b := rec.Body.Bytes()
		for len(b) > 0 { // the pauses are what this is about
			n := min(len(b), 1<<16)
			w.Write(b[:n])
			w.(http.Flusher).Flush()
			b = b[n:]
			time.Sleep(10 * time.Millisecond)
		}
		return true
	})
	if _, err := l.fetch(t.Context(), "bob/os", nil); err != nil {
		t.Error(err)
	}
}

// Unpacking a large image takes a while: who waits is told so.
func TestUnpackingIsTold(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	l.stall = 3 * time.Second
	f := newFaulty()
	s := serve(t, f)
	lookIn(t, l, s.URL)
	push(t, s.URL, "bob/os", image(t, []v1.Layer{gzipLayer(t, regular("zeros", strings.Repeat("\x00", 128<<20)))}, "walt.node.models", "x"))
	var told notes
	if _, err := l.fetch(t.Context(), "bob/os", told.report); err != nil || told.count(unpacking) != 1 {
		t.Errorf("told %q, %v", told.told(), err)
	}
}

// What a registry lists that is no name of an image is not asked for.
func TestListedNamesAreChecked(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, "bob/os", image(t, []v1.Layer{gzipLayer(t, regular("a", "1"))}, "walt.node.models", "x"))
	asked := ""
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/_catalog" {
			asked += r.URL.Path + "\n"
			return false
		}
		fmt.Fprintf(w, `{"repositories":["../../metrics","bob/..","bob/\u001b[31m","/","","alone","bob/%s","bob/os"]}`, strings.Repeat("x", 300))
		return true
	})
	found := 0
	err := l.Location.Search(t.Context(), Query{}, func(Image) { found++ }, func(string) {})
	if err != nil || found != 1 {
		t.Errorf("found %d, %v", found, err)
	}
	if asked == "" || strings.Contains(asked, "metrics") || strings.Contains(asked, "alone") || strings.Contains(asked, "xxx") {
		t.Errorf("asked for %s", asked)
	}
}
