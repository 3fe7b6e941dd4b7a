package images

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/journal"
	"walt/state"
)

func collect(t testing.TB, l *testLibrary, dry bool) Garbage {
	t.Helper()
	g, err := l.Collect(t.Context(), dry)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// stored counts the files of content and their bytes.
func stored(t testing.TB, l *testLibrary) (g Garbage) {
	t.Helper()
	err := filepath.WalkDir(l.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, _ := d.Info()
			g.Blobs++
			g.Bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCollect(t *testing.T) {
	t.Parallel()
	l, _, url := inLab(t)
	base := gzipLayer(t, regular("base", "1"))
	push(t, url, "bob/one", image(t, []v1.Layer{base, gzipLayer(t, regular("one", "1"))}, modelsLabel, "x"))
	push(t, url, "bob/two", image(t, []v1.Layer{base, gzipLayer(t, regular("two", "2"))}, modelsLabel, "x"))
	var all []Image
	for _, name := range []string{"bob/one", "bob/two"} {
		img, err := l.Fetch(t.Context(), mustRef(t, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Files(t.Context(), img.Digest); err != nil {
			t.Fatal(err)
		}
		all = append(all, img)
		update(t, l, func(tx state.Tx) error { return Put(tx, img) })
	}
	clone := all[0]
	clone.Ref = mustRef(t, "carol/one")
	update(t, l, func(tx state.Tx) error {
		return errors.Join(Put(tx, clone), Delete(tx, all[0].Ref), Delete(tx, all[1].Ref))
	})
	before := stored(t, l)
	if g := collect(t, l, false); g != (Garbage{}) {
		t.Errorf("%+v was freed that had been brought a moment before", g)
	}
	later(l, 2*time.Hour)
	end := l.Pause()
	if g := collect(t, l, false); g != (Garbage{}) {
		t.Errorf("%+v was freed during a pause", g)
	}
	end()
	dry := collect(t, l, true)
	if after := stored(t, l); dry.Blobs != 4 || after != before { // manifest, config, layer, unpacked layer
		t.Errorf("a dry run counted %+v; before %+v, after %+v", dry, before, after)
	}
	if g := collect(t, l, false); g != dry {
		t.Errorf("freed %+v, want %+v", g, dry)
	}
	if after := stored(t, l); after.Blobs != before.Blobs-dry.Blobs || after.Bytes != before.Bytes-dry.Bytes {
		t.Errorf("before %+v, after %+v", before, after)
	}
	again, err := Open(l.dir, l.store, l.log, l.platforms, l.now) // remembers no files
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Files(t.Context(), clone.Digest); err != nil {
		t.Errorf("the clone: %v", err)
	}
	_, err = again.Files(t.Context(), all[1].Digest)
	wantFault(t, err, "is not on this server")

	update(t, l, func(tx state.Tx) error { return Delete(tx, clone.Ref) })
	collect(t, l, false)
	if left := stored(t, l); left != (Garbage{}) {
		t.Errorf("%+v is left of nothing", left)
	}
	if _, err := l.Fetch(t.Context(), mustRef(t, "bob/two"), nil); err != nil {
		t.Error(err)
	}
}

// A Fetch holds what it needs, what was here before and what comes first too.
func TestCollectDuringFetch(t *testing.T) {
	t.Parallel()
	l, f, url := inLab(t)
	base, last := gzipLayer(t, regular("base", "1")), gzipLayer(t, regular("last", "1"))
	push(t, url, "bob/old", image(t, []v1.Layer{base}, modelsLabel, "x"))
	push(t, url, "bob/new", image(t, []v1.Layer{base, last}, modelsLabel, "x"))
	if _, err := l.Fetch(t.Context(), mustRef(t, "bob/old"), nil); err != nil {
		t.Fatal(err)
	}
	later(l, 24*time.Hour)
	h, _ := last.Digest()
	f.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		if asks(r, h) {
			collect(t, l, false)
		}
		return false
	})
	img, err := l.Fetch(t.Context(), mustRef(t, "bob/new"), nil)
	if err != nil {
		t.Fatal(err)
	}
	collect(t, l, false) // before the record is put
	tree, err := l.Files(t.Context(), img.Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, tree, "base", "1")
	later(l, 48*time.Hour)
	collect(t, l, false)
	if left := stored(t, l); left != (Garbage{}) {
		t.Errorf("%+v is left that nothing refers to", left)
	}
}

func TestRunCollects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		real := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
		l := newLibraryAt(t, func() time.Time { return real })
		keep(t, l, archive(t, regular("a", "1")))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(collectEvery + time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left := stored(t, l); left != (Garbage{}) {
			t.Errorf("%+v is left", left)
		}
		told := 0
		err := l.log.History(t.Context(), journal.At(time.Time{}), journal.At(real.Add(time.Hour)), nil, journal.Each(func(e journal.Event) error { told++; return nil }))
		if err != nil || told != 1 {
			t.Errorf("%d events, %v", told, err)
		}
	})
}
