package images

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/images/content"
	"walt/journal"
	"walt/state"
	"walt/state/badger"
)

// killed are the images that the child of TestKilledWhileDownloading downloads.
const killed = 20

// childEnv holds "<directory> <address of the registry>" for that child.
const childEnv = "WALT_IMAGES_CHILD"

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		if err := downloadAll(child); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func killedRef(i int) Ref { return Ref{"bob", fmt.Sprintf("image-%d", i), latest} }

func openIn(dir string) (*Library, func() error, error) {
	store, err := badger.Open(filepath.Join(dir, "state"), nil)
	if err != nil {
		return nil, nil, err
	}
	l, err := Open(filepath.Join(dir, "images"), store, journal.New(store, time.Now), KnownPlatforms(), time.Now)
	return l, store.Close, err
}

// downloadAll downloads all images and puts the record of each, as the server does.
func downloadAll(child string) error {
	var dir, url string
	fmt.Sscan(child, &dir, &url)
	l, _, err := openIn(dir)
	if err != nil {
		return err
	}
	if err := l.SetRegistries([]Registry{{Label: "lab", URL: url}}); err != nil {
		return err
	}
	ctx := context.Background()
	for i := range killed {
		img, err := l.Fetch(ctx, killedRef(i), nil)
		if err == nil {
			_, err = l.store.Update(ctx, func(tx state.Tx) error { return Put(tx, img) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A server downloads twenty images and is killed again and again: every image
// that is visible afterwards is complete, nothing half is left, and in the end
// all are there.
func TestKilledWhileDownloading(t *testing.T) {
	t.Parallel()
	f := newFaulty()
	s := serve(t, f)
	shared, err := random.Layer(256<<10, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	for i := range killed {
		own, err := random.Layer(1<<20, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		push(t, s.URL, killedRef(i).Full(), image(t, []v1.Layer{shared, own, gzipLayer(t, regular("n", fmt.Sprint(i)))}, modelsLabel, "x"))
	}
	dir := t.TempDir()
	deaths, seen := 0, 0
	for try := 0; seen < killed; try++ {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+dir+" "+s.URL)
		child.Stderr = os.Stderr
		var left atomic.Int64
		left.Store(2 + rand.Int64N(10))
		started := make(chan struct{})
		f.Break(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") && left.Add(-1) == 0 {
				<-started
				time.AfterFunc(rand.N(20*time.Millisecond), func() { child.Process.Kill() })
			}
			return false
		})
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		close(started)
		if child.Wait() != nil {
			deaths++
		}
		before := seen
		if seen = wantComplete(t, dir); seen < before || try == 200 {
			t.Fatalf("%d images were there, now %d; try %d", before, seen, try)
		}
	}
	t.Logf("killed %d times", deaths)
	if deaths == 0 {
		t.Error("it was never killed")
	}
}

// wantComplete opens what a killed server left and returns how many images there are.
func wantComplete(t *testing.T, dir string) int {
	t.Helper()
	l, closeStore, err := openIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore()
	var all []Image
	err = l.store.View(t.Context(), func(r state.Reader) (err error) {
		all, err = All(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range all {
		tree, err := l.Files(t.Context(), img.Digest)
		if err != nil {
			t.Fatalf("%s is visible, but: %v", img.Ref, err)
		}
		if n, err := fs.ReadFile(tree, "n"); err != nil || killedRef(0).Name[:6]+string(n) != img.Ref.Name {
			t.Errorf("%s holds %q, %v", img.Ref, n, err)
		}
		m, err := l.manifest(img)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range m.Blobs() {
			b, err := l.content.Read(d.Digest)
			if err != nil || content.Sum(b) != d.Digest {
				t.Errorf("%s: %s is damaged, %v", img.Ref, d.Digest, err)
			}
		}
	}
	if left := leftovers(t, &testLibrary{Library: l, dir: filepath.Join(dir, "images")}); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	return len(all)
}
