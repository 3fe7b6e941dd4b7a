package source

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestNetworkErrorsAreExplained(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the host name lab.example is not known": &net.DNSError{Name: "lab.example", Err: "no such host", IsNotFound: true},
		"the connection timed out":               &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
		"network is unreachable":                 &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)},
		"odd":                                    errors.New("odd"),
	} {
		if got := unreachable(&url.Error{Op: "Get", URL: "http://secret@x", Err: err}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
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
			if headers && name == "at the handshake" {
				continue // its headers say all
			}
			t.Run(fmt.Sprintf("%s, headers %v", name, headers), func(t *testing.T) {
				t.Parallel()
				l, f, url := inLab(t)
				push(t, url, pcDefault, img)
				l.stall = 50 * time.Millisecond
				if err := l.use(RegistryConfig{Label: "lab", URL: url, Username: "bob"}); err != nil {
					t.Fatal(err)
				}
				f.Break(func(w http.ResponseWriter, r *http.Request) bool {
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
				_, err := l.fetch(t.Context(), pcDefault, nil)
				wantError(t, err, "registry lab ("+url+") does not answer")
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
			l := newPlace(t)
			l.stall = 50 * time.Millisecond
			lookIn(t, l, scheme+silent.Addr().String())
			_, err = l.fetch(t.Context(), pcDefault, nil)
			wantError(t, err, "registry lab ("+scheme+silent.Addr().String()+") does not answer")
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
		f.Break(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				http.Error(w, "secret <html>", status)
				return true
			}
			return false
		})
		_, err := l.fetch(t.Context(), pcDefault, nil)
		wantError(t, err, "registry lab ("+url+") "+words)
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
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if asks(r, layerDigest(t, img, 0)) {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "the one in registry lab", "lacks its part "+layerDigest(t, img, 0).String())
}

// Docker Hub gives everybody a token, and refuses it for what it does not have.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
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
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab", "does not have it, or shows it only to who has a password")
	if err := l.use(RegistryConfig{Label: "lab", URL: s.URL, Username: "walt", Password: "wrong"}); err != nil {
		t.Fatal(err)
	}
	_, err = l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "refuses the user name or the password")
}

func TestFullDiskIsExplained(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, pcDefault, pcImage(t, "x"))
	l.store.Floor = 1 << 60
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "disk for images of this server is full")
	if f.Blobs.Load() > 1 {
		t.Error("more than the config was downloaded")
	}
	l.store.Floor = 0
	if left := leftovers(t, l); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := l.fetch(t.Context(), pcDefault, nil); err != nil {
		t.Error(err)
	}
}

func TestHugeManifestIsRefused(t *testing.T) {
	t.Parallel()
	l, f, _ := inLab(t)
	f.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		for r.Context().Err() == nil { // without end
			w.Write(make([]byte, 1<<16))
		}
		return true
	})
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "a manifest of more than")
}
