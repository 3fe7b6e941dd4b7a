package commands

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"walt/images"
)

// inFront puts a handler before the registry of a lab: what it does not answer is
// passed on.
func inFront(t *testing.T, lab *testLab, answers func(w http.ResponseWriter, r *http.Request) bool) (at string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	lab.must(err)
	server, err := images.ServeSamples(l, []images.Sample{
		{Models: []images.Model{"rpi-4-b"}, Created: noon, Files: map[string]string{"etc/motd": "hello\n"}},
		{Models: []images.Model{"rpi-5-b"}, Created: noon, Files: map[string]string{"etc/motd": "hello\n"}},
	})
	lab.must(err)
	t.Cleanup(func() { server.Close() })
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: l.Addr().String()})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers(w, r) {
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	lab.must(lab.app.Library.SetRegistries([]images.Registry{{Label: "lab", URL: s.URL}}))
	lab.ok("bob", "image show")
	return s.URL
}

// Who waits for a busy registry sees that at once, on standard error, and a search
// shows what the registry has in spite of what it cannot say.
func TestBusyRegistry(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	var asked atomic.Int64
	at := inFront(t, lab, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case asked.Add(1) == 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case strings.HasSuffix(r.URL.Path, "rpi-5-b-default/tags/list"):
			w.WriteHeader(http.StatusInternalServerError)
		default:
			return false
		}
		return true
	})
	const link = "lab:waltplatform/rpi-4-b-default"
	wait := "registry lab (" + at + ") asks to wait 1s.\n"
	got := lab.run("bob", "image search rpi-", "")
	want := wait + "lab was not wholly searched: registry lab (" + at + ") answered 500 Internal Server Error, at waltplatform/rpi-5-b-default\n"
	if got.status != StatusDone || got.stderr != want || !strings.Contains(got.stdout, link+" ") {
		t.Errorf("search: %+v, want %q", got, want)
	}
	asked.Store(0)
	got = lab.run("bob", "image clone "+link, "")
	if got.status != StatusDone || !strings.HasPrefix(got.stderr, wait+link+": sha256:") {
		t.Errorf("clone: %+v", got)
	}
	asked.Store(0)
	got = lab.run("bob", "image publish rpi-4-b-default", "")
	if got.status != StatusDone || !strings.Contains(got.stderr, wait) || got.stdout != "lab:bob/rpi-4-b-default\n" {
		t.Errorf("publish: %+v", got)
	}
}
