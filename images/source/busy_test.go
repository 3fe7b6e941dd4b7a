package source

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/content"
)

// notes collects what who waits is told.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) tell(note string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, note)
}

func (n *notes) report(p Progress) {
	if p.Note != "" {
		n.tell(p.Note)
	}
}

func (n *notes) told() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// count is how many notes have the words.
func (n *notes) count(words string) (count int) {
	for _, note := range n.told() {
		if strings.Contains(note, words) {
			count++
		}
	}
	return count
}

// A registry that has too much to do is waited for, by all layers at once, and
// everybody who waits is told so once.
func TestBusyRegistryIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func() string{
		"seconds":                 func() string { return "1" },
		"no time":                 func() string { return "0" },
		"no time that is to come": func() string { return "Sun, 06 Nov 1994 08:49:37 GMT" },
		"a date":                  func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) },
		"no word":                 func() string { return "" },
		"no sense":                func() string { return "soon" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := newPlace(t), newFaulty()
			img := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), gzipLayer(t, regular("b", "2")), gzipLayer(t, regular("c", "3"))}, "walt.node.models", "x")
			push(t, serve(t, f).URL, pcDefault, img)
			var layers, early, until atomic.Int64
			config, err := img.ConfigName()
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				l.inMemory(t, f.ServeHTTP)
				var all sync.WaitGroup
				all.Add(3)
				f.Break(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, "/blobs/") || asks(r, config) {
						return false
					}
					if layers.Add(1) > 3 {
						if time.Now().UnixNano() < until.Load() {
							early.Add(1)
						}
						return false
					}
					all.Done()
					all.Wait() // all of them are refused
					if until.Store(time.Now().Add(900 * time.Millisecond).UnixNano()); after() != "" {
						w.Header().Set("Retry-After", after())
					}
					w.WriteHeader(http.StatusTooManyRequests)
					return true
				})
				var told, second notes
				var both sync.WaitGroup
				for _, n := range []*notes{&told, &second} {
					both.Go(func() {
						if _, err := l.fetch(t.Context(), pcDefault, n.report); err != nil {
							t.Error(err)
						}
					})
				}
				both.Wait()
				words := atMemory + " asks to wait "
				if strings.HasPrefix(name, "no ") {
					words = atMemory + " has too much to do: waiting 1s."
				}
				if n := told.count(words); n != 1 {
					t.Errorf("told %d times: %q", n, told.told())
				}
				if n := second.count(words); n != 1 {
					t.Errorf("who joined was told %d times: %q", n, second.told())
				}
				if early.Load() > 0 {
					t.Errorf("%d layers did not wait", early.Load())
				}
			})
		})
	}
}

func TestBusyRegistryIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	push(t, url, pcDefault, pcImage(t, "x"))
	after := "3600"
	f.Break(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := l.fetch(t.Context(), pcDefault, nil)
	wantError(t, err, "registry lab ("+url+") answered 503 Service Unavailable, and asks to wait 1h0m0s")
	after = "15"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = l.fetch(ctx, pcDefault, nil) // that is more time than there is
	wantError(t, err, "asks to wait 15s")
	var told notes
	ctx, interrupt := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := l.fetch(ctx, pcDefault, told.report)
		ended <- err
	}()
	until(t, "the note", func() bool { return told.count("asks to wait 15s") == 1 })
	why := errors.New("the user does not want it any more")
	interrupt(why)
	if err := <-ended; !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Every kind of request of a push waits, and what was sent by then is sent again.
func TestBusyRegistryIsPushedTo(t *testing.T) {
	t.Parallel()
	l, m := stored(t)
	f := newFaulty()
	var refused sync.Map
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.URL.Path, "sha256:")
		if _, again := refused.LoadOrStore(r.Method+path, true); !again {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		f.ServeHTTP(w, r)
	}))
	lookIn(t, l, s.URL)
	if err := l.Location.(*Registry).Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"HEAD/v2/bob/os/blobs/", "POST/v2/bob/os/blobs/uploads/", "PUT/v2/bob/os/manifests/latest"} {
		if _, ok := refused.Load(kind); !ok {
			t.Errorf("%s was not asked for", kind)
		}
	}
	if _, err := l.fetch(t.Context(), "bob/os", nil); err != nil {
		t.Error(err)
	}
}

// Connections that break are taken up again, whatever they are for.
func TestBrokenConnectionsAreTakenUp(t *testing.T) {
	t.Parallel()
	l, m := stored(t)
	f := newFaulty()
	var seen sync.Map
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.URL.Path, "/uploads/") // each has another name there
		if _, again := seen.LoadOrStore(r.Method+path, true); again {
			f.ServeHTTP(w, r)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.(*net.TCPConn).SetLinger(0) // a reset
		c.Close()
	}))
	lookIn(t, l, s.URL)
	r := l.Location.(*Registry)
	if err := r.Push(t.Context(), m, "bob/os", "latest", nil); err != nil {
		t.Fatal(err)
	}
	fresh := newPlace(t)
	lookIn(t, fresh, s.URL)
	if _, err := fresh.fetch(t.Context(), "bob/os", nil); err != nil {
		t.Error(err)
	}
}

// stored is a place without a location that has an image, and its manifest.
func stored(t testing.TB) (*place, content.Manifest) {
	t.Helper()
	l, _, url := inLab(t)
	img := bigImage(t)
	push(t, url, "bob/os", img)
	if _, err := l.fetch(t.Context(), "bob/os", nil); err != nil {
		t.Fatal(err)
	}
	m, err := l.store.Manifest(content.Digest(digestOf(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	m.Self.MediaType = "application/vnd.oci.image.manifest.v1+json"
	return l, m
}
