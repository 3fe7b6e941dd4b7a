package source

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
			if !strings.HasPrefix(step, "sending") {
				l = newPlace(t)
			}
			synctest.Test(t, func(t *testing.T) {
				l.inMemory(t, func(w http.ResponseWriter, r *http.Request) {
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
				})
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
				wantError(t, err, atMemory+" does not answer while "+step)
				if n := told.count("Waiting for " + atMemory + ": " + step + "."); n != 1 {
					t.Errorf("told %q", told.told())
				}
			})
		})
	}
}

// A registry that goes over to another protocol, and says nothing in it, is not waited for.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	synctest.Test(t, func(t *testing.T) {
		l.inMemory(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
		})
		_, err := l.fetch(t.Context(), "bob/os", func(Progress) {})
		wantError(t, err, "it speaks another protocol than HTTP")
	})
}

// Before there is a connection the patience is shorter.
func TestSilentConnecting(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	synctest.Test(t, func(t *testing.T) {
		l.inMemory(t, nil)
		begun := time.Now()
		var told notes
		_, err := l.fetch(t.Context(), "bob/os", told.report)
		wantError(t, err, atMemory+" does not answer while connecting")
		if n := told.count("Waiting for " + atMemory + ": connecting."); n != 1 {
			t.Errorf("told %q", told.told())
		}
		if took := time.Since(begun); took != connectLimit {
			t.Errorf("that took %v", took)
		}
	})
}

// A registry that is slow, but at work, is not given up, and no word is lost about it.
func TestSlowRegistry(t *testing.T) {
	t.Parallel()
	img := bigImage(t)
	layer := layerDigest(t, img, 0)
	l, f := newPlace(t), newFaulty()
	push(t, serve(t, f).URL, "bob/os", img)
	synctest.Test(t, func(t *testing.T) {
		l.inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if !asks(r, layer) {
				f.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			f.ServeHTTP(rec, r)
			b := rec.Body.Bytes()
			for len(b) > 0 {
				n := min(len(b), 1<<15)
				w.Write(b[:n])
				w.(http.Flusher).Flush()
				b = b[n:]
				time.Sleep(l.stall/patience - 1)
			}
		})
		begun := time.Now()
		var told notes
		if _, err := l.fetch(t.Context(), "bob/os", told.report); err != nil || told.count("Waiting") > 0 {
			t.Errorf("told %q, %v", told.told(), err)
		}
		if took := time.Since(begun); took < l.stall {
			t.Errorf("nobody need wait: it took %v", took)
		}
	})
}

// Unpacking a large image takes a while: who waits is told so.
func TestUnpackingIsTold(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	l.Location.(*Registry).server.transport.quiet = time.Millisecond
	push(t, url, "bob/os", image(t, []v1.Layer{gzipLayer(t, regular("zeros", strings.Repeat("\x00", 16<<20)))}, "walt.node.models", "x"))
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

// atMemory is how a location is called that is reached in memory.
const atMemory = "registry lab (http://in.memory)"

// inMemory has the place ask a registry that is reached in memory.
func (p *place) inMemory(t testing.TB, h http.HandlerFunc) {
	t.Helper()
	if err := p.use(RegistryConfig{Label: "lab", URL: "http://in.memory", Username: "bob"}); err != nil {
		t.Fatal(err)
	}
	serveInMemory(t, h, p.Location.(*Registry).server.transport.next)
}

// serveInMemory has those who ask reach a server in memory: in a bubble of
// testing/synctest time passes when all wait, however busy the machine is. With no
// handler nobody answers.
func serveInMemory(t testing.TB, h http.HandlerFunc, asks ...*http.Transport) {
	t.Helper()
	called := &calls{accepted: make(chan net.Conn), closed: make(chan struct{})}
	s := &http.Server{Handler: h}
	for _, a := range asks {
		a.Proxy = nil
		a.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case called.accepted <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	var serving sync.WaitGroup
	if h != nil {
		serving.Go(func() { _ = s.Serve(called) }) // until the end of the test
	}
	t.Cleanup(func() {
		for _, a := range asks {
			a.CloseIdleConnections()
		}
		_ = s.Close()
		serving.Wait()
	})
}

// calls is a listener for connections in memory.
type calls struct {
	net.Listener
	accepted chan net.Conn
	closed   chan struct{}
}

func (c *calls) Accept() (net.Conn, error) {
	select {
	case conn := <-c.accepted:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

func (c *calls) Close() error {
	close(c.closed)
	return nil
}
