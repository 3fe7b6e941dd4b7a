package images

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestFetchDoesNotHang(t *testing.T) {
	t.Parallel()
	img := pcImage(t, "hello")
	for name, hangs := range map[string]func(r *http.Request) bool{
		"at the handshake": func(r *http.Request) bool { return r.URL.Path == "/v2/" },
		"at the manifest":  func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") },
		"at a layer":       func(r *http.Request) bool { return asks(r, layerDigest(t, img, 0)) },
	} {
		for _, headers := range []bool{false, true} {
			if headers && name == "at the handshake" {
				continue // its headers say all
			}
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
				_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
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
			_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
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
		http.StatusTooManyRequests:     "has had too many requests",
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
		_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
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
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
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
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	wantFault(t, err, "registry lab", "does not have it, or shows it only to who has a password")
	if err := l.SetRegistries([]Registry{{Label: "lab", URL: s.URL, Username: "walt", Password: "wrong"}}); err != nil {
		t.Fatal(err)
	}
	_, err = l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	wantFault(t, err, "refuses the user name or the password")
}

func TestFullDiskIsExplained(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, pcDefault, pcImage(t, "x"))
	l.content.Floor = 1 << 60
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	wantFault(t, err, pcDefault, "disk for images of this server is full")
	if f.blobs.Load() > 1 {
		t.Error("more than the config was downloaded")
	}
	l.content.Floor = 0
	img, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	if err != nil {
		t.Fatal(err)
	}
	l.content.Floor = 1 << 60
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
	_, err := l.Fetch(t.Context(), DefaultRef("pc-x86-64"), nil)
	wantFault(t, err, "a manifest of more than")
}
