package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"
)

// fetched is an image of the random content, in a library that knows a registry
// called lab at the address.
func fetched(t testing.TB, url string, img v1.Image) (*testLibrary, Image) {
	t.Helper()
	l, _, from := inLab(t)
	push(t, from, "bob/os:v1", img)
	got, err := l.Fetch(t.Context(), mustRef(t, "bob/os:v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	lookIn(t, l, url)
	return l, got
}

func TestPublish(t *testing.T) {
	t.Parallel()
	host := realRegistry(t, t.TempDir(), "", "")
	l, img := fetched(t, "http://"+host, image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), gzipLayer(t, regular("b", "2"))}, modelsLabel, "x"))
	var seen []Progress
	link, err := l.Publish(t.Context(), img, "", func(p Progress) { seen = append(seen, p) })
	if err != nil || link.String() != "lab:bob/os:v1" {
		t.Fatalf("got %v, %v", link, err)
	}
	wantProgress(t, seen, 2)
	there := newLibrary(t)
	lookIn(t, there, "http://"+host)
	got, err := there.FetchLink(t.Context(), link, "", nil)
	if err != nil || got.Digest != img.Digest {
		t.Errorf("there it is %v, %v, want %s", got.Digest, err, img.Digest)
	}
	if _, err := l.Publish(t.Context(), img, "lab", nil); err != nil {
		t.Errorf("again: %v", err)
	}
	_, err = l.Publish(t.Context(), img, "la", nil)
	wantFault(t, err, "unknown registry la")
	_, err = l.Publish(t.Context(), Image{Ref: img.Ref, Digest: "sha256:" + strings.Repeat("0", 64)}, "lab", nil)
	wantFault(t, err, "is not on this server")
}

// wantProgress fails unless what was reported goes up to the end, with a line for
// each of the layers.
func wantProgress(t testing.TB, seen []Progress, layers int) {
	t.Helper()
	var done int64
	for i, p := range seen {
		if p.Note != "" { // somebody is slow
			continue
		}
		if p.Layer != "" {
			if layers--; !p.Finished || p.Done != p.Total {
				t.Errorf("a layer is %+v", p)
			}
			continue
		}
		if p.Done < done || p.Done > p.Total || p.Finished != (i == len(seen)-1) {
			t.Errorf("after %d bytes of %d reports: %+v", done, len(seen), p)
		}
		done = p.Done
	}
	if layers != 0 || len(seen) == 0 {
		t.Errorf("%d layers were not reported: %+v", layers, seen)
	}
}

func TestPublishSendsOnlyWhatIsNotThere(t *testing.T) {
	t.Parallel()
	base := gzipLayer(t, regular("base", "1"))
	l, img := fetched(t, "", image(t, []v1.Layer{base, gzipLayer(t, regular("a", "1"))}, modelsLabel, "x"))
	f := newFaulty()
	var sent atomic.Int64
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/") {
			sent.Add(1)
		}
		f.ServeHTTP(w, r)
	}))
	push(t, s.URL, "bob/os:old", image(t, []v1.Layer{base}, modelsLabel, "x"))
	lookIn(t, l, s.URL)
	sent.Store(0)
	if _, err := l.Publish(t.Context(), img, "lab", nil); err != nil {
		t.Fatal(err)
	}
	if n := sent.Load(); n != 2 {
		t.Errorf("%d blobs were sent, want a layer and the config", n)
	}
}

func TestPublishThatIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("walt:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded := "http://" + realRegistry(t, dir, "", fmt.Sprintf("auth: {htpasswd: {realm: walt, path: %s/htpasswd}}\n", dir))
	readonly := "http://" + realRegistry(t, t.TempDir(), "", "", "storage: {filesystem: {rootdirectory: DIR/data}, maintenance: {readonly: {enabled: true}}}")
	down := "http://" + closedPort(t)
	l, img := fetched(t, down, pcImage(t, "x"))
	for _, test := range []struct {
		r     Registry
		words string
	}{
		{Registry{URL: guarded}, "needs a password"},
		{Registry{URL: guarded, Username: "walt", Password: "wrong"}, "refuses the user name or the password"},
		{Registry{URL: readonly}, "is read-only"},
		{Registry{URL: down}, "cannot be reached: connection refused"},
		{Registry{URL: guarded, Username: "walt", Password: "right"}, ""},
	} {
		test.r.Label = "lab"
		if err := l.SetRegistries([]Registry{test.r}); err != nil {
			t.Fatal(err)
		}
		_, err := l.Publish(t.Context(), img, "lab", nil)
		if test.words == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantFault(t, err, "the image bob/os:v1 cannot be published: registry lab ("+test.r.URL+") "+test.words)
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("the message shows the password: %v", err)
		}
	}
	if err := l.SetRegistries(nil); err != nil {
		t.Fatal(err)
	}
	_, err = l.Publish(t.Context(), img, "", nil)
	wantFault(t, err, "no registry is configured")
}

// A registry that takes its time over a large layer is not taken for a silent one.
func TestPublishSlowly(t *testing.T) {
	t.Parallel()
	l, img := fetched(t, "", pcImage(t, "x"))
	f, hang := newFaulty(), make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/") {
			<-hang
		}
		f.ServeHTTP(w, r)
	}))
	l.stall = 100 * time.Millisecond
	lookIn(t, l, s.URL)
	_, err := l.Publish(t.Context(), img, "lab", nil)
	wantFault(t, err, "registry lab ("+s.URL+") does not answer")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Publish(ctx, img, "lab", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(hang)
	l.stall = time.Minute
	lookIn(t, l, s.URL)
	if _, err := l.Publish(t.Context(), img, "lab", nil); err != nil {
		t.Error(err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	good := image(t, []v1.Layer{gzipLayer(t, regular("a", "1")), gzipLayer(t, regular("b", "22"))}, modelsLabel, "x", "maintainer", "bob")
	l, img := fetched(t, "", good)
	d, err := l.Inspect(img)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := good.Manifest()
	var want []Layer
	for _, layer := range m.Layers {
		want = append(want, Layer{layer.Digest.String(), layer.Size})
	}
	if !slices.Equal(d.Layers, want) || d.Labels["maintainer"] != "bob" || d.Architecture != "amd64" || d.OS != "linux" {
		t.Errorf("got %+v", d)
	}
	_, err = l.Inspect(Image{Digest: "sha256:" + strings.Repeat("0", 64)})
	wantFault(t, err, "is not on this server")
}

func TestOffers(t *testing.T) {
	t.Parallel()
	one, two := serve(t, newFaulty()), serve(t, newFaulty())
	down := "http://" + closedPort(t)
	good := pcImage(t, "x")
	push(t, one.URL, pcDefault, good)
	push(t, two.URL, "bob/none", image(t, []v1.Layer{gzipLayer(t, regular("a", "1"))}))
	l := newLibrary(t)
	err := l.SetRegistries([]Registry{{Label: "two", URL: two.URL}, {Label: "down", URL: down}, {Label: "one", URL: one.URL}})
	if err != nil {
		t.Fatal(err)
	}
	got := l.Offers(t.Context(), DefaultRef("pc-x86-64"))
	if len(got) != 3 || got[0].Location != "two" || got[1].Location != "down" || got[2].Location != "one" {
		t.Fatalf("got %v", got)
	}
	wantFault(t, got[0].Err, "registry two ("+two.URL+") does not have it")
	wantFault(t, got[1].Err, "registry down ("+down+") cannot be reached")
	if o := got[2]; o.Err != nil || o.Digest != digestOf(t, good) || !o.Created.Equal(created) {
		t.Errorf("got %+v", o)
	}
	if has(l, layerDigest(t, good, 0)) {
		t.Error("a layer was downloaded")
	}
	wantFault(t, l.Offers(t.Context(), mustRef(t, "bob/none"))[0].Err, "no label walt.node.models")
}
