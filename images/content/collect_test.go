package content

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// later makes it later for the store.
func later(s *Store, d time.Duration) { s.now = func() time.Time { return time.Now().Add(d) } }

func collect(t testing.TB, s *Store, dry bool, manifests ...Digest) Garbage {
	t.Helper()
	g, err := s.Collect(t.Context(), manifests, dry)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// stored counts the files of content and their bytes.
func stored(t testing.TB, s *Store) (g Garbage) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
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
	s := newStore(t)
	base := zip(t, archive(t, regular("base", "1")))
	one := keep(t, s, base, zip(t, archive(t, regular("one", "1"))))
	two := keep(t, s, base, zip(t, archive(t, regular("two", "2"))))
	for _, d := range []Digest{one, two} {
		if _, err := s.Tree(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	before := stored(t, s)
	if g := collect(t, s, false, one); g != (Garbage{}) {
		t.Errorf("%+v was freed that had been brought a moment before", g)
	}
	later(s, 2*time.Hour)
	end := s.Pause()
	if g := collect(t, s, false, one); g != (Garbage{}) {
		t.Errorf("%+v was freed during a pause", g)
	}
	end()
	dry := collect(t, s, true, one)
	if after := stored(t, s); dry.Blobs != 3 || after != before { // manifest, layer, unpacked layer
		t.Errorf("a dry run counted %+v; before %+v, after %+v", dry, before, after)
	}
	if g := collect(t, s, false, one); g != dry {
		t.Errorf("freed %+v, want %+v", g, dry)
	}
	if after := stored(t, s); after.Blobs != before.Blobs-dry.Blobs || after.Bytes != before.Bytes-dry.Bytes {
		t.Errorf("before %+v, after %+v", before, after)
	}
	_, err := s.Tree(t.Context(), two)
	wantFault(t, err, "is not on this server")
	s.trees.forget()
	if _, err := s.Tree(t.Context(), one); err != nil {
		t.Error(err)
	}
	collect(t, s, false, two) // which is not here and needs nothing
	if left := stored(t, s); left != (Garbage{}) {
		t.Errorf("%+v is left of nothing", left)
	}
}

func TestCollectLeavesWhatIsLeased(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	digest := keep(t, s, archive(t, regular("a", "1")))
	m, err := s.Manifest(digest)
	if err != nil {
		t.Fatal(err)
	}
	first, second := s.Lease(m.Blobs()), s.Lease(m.Layers)
	later(s, 2*time.Hour)
	collect(t, s, false)
	first()
	collect(t, s, false) // a moment after
	later(s, 4*time.Hour)
	if g := collect(t, s, false); g.Blobs != 1 || len(s.Missing(m.Layers)) > 0 {
		t.Errorf("freed %+v, want the manifest alone", g)
	}
	second()
	later(s, 6*time.Hour)
	collect(t, s, false)
	if left := stored(t, s); left != (Garbage{}) {
		t.Errorf("%+v is left", left)
	}
}

// What cannot be understood is not thrown away.
func TestCollectOfADamagedStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	digest := keep(t, s, archive(t, regular("a", "1")))
	if err := os.WriteFile(s.blobPath(digest), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	later(s, 2*time.Hour)
	before := stored(t, s)
	if g, err := s.Collect(t.Context(), []Digest{digest}, false); err == nil || stored(t, s) != before {
		t.Errorf("freed %+v, %v", g, err)
	}
}
