package content

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// flip changes a byte in the middle of a file.
func flip(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tar := archive(t, regular("a", strings.Repeat("x", 10_000)))
	one, two := zip(t, tar), archive(t, regular("b", "2"))
	digest := keep(t, s, one, two)
	m, err := s.Manifest(digest)
	if err != nil {
		t.Fatal(err)
	}
	m.Config.Digest = Sum([]byte("not here"))
	var c Config
	c.RootFS.DiffIDs = []Digest{Sum(tar), Sum(two)}
	verify := func(want ...Digest) {
		t.Helper()
		if got, err := s.Verify(t.Context(), m, c); err != nil || !slices.Equal(got, want) {
			t.Errorf("damaged: %v, %v, want %v", got, err, want)
		}
	}
	if _, err := s.Tree(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	unpacked := s.unpackedPath(Sum(one))
	verify()
	if _, err := os.Stat(unpacked); err != nil {
		t.Errorf("what is good was thrown away: %v", err)
	}
	flip(t, unpacked)
	verify()
	if tree, err := s.Tree(t.Context(), digest); err != nil {
		t.Error(err)
	} else {
		wantContent(t, tree, "a", strings.Repeat("x", 10_000))
	}
	var told []Digest
	s.Damaged = func(d Digest, aside string) {
		told = append(told, d)
		if _, err := os.Stat(aside); err != nil {
			t.Error(err)
		}
	}
	flip(t, s.blobPath(Sum(two)))
	verify(Sum(two))
	flip(t, s.blobPath(digest))
	verify(digest)
	if !slices.Equal(told, []Digest{Sum(two), digest}) || len(s.Missing(m.Layers)) != 1 {
		t.Errorf("told of %v, missing %v", told, s.Missing(m.Layers))
	}
}

// What cannot be read since the disk changed it is not called the builder's fault.
func TestTreeOfDamagedContent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	layer := zip(t, archive(t, regular("a", strings.Repeat("x", 10_000))))
	digest := keep(t, s, layer)
	flip(t, s.blobPath(Sum(layer)))
	_, err := s.Tree(t.Context(), digest)
	wantFault(t, err, "was damaged on this server")
	if aside, _ := os.ReadDir(filepath.Join(s.dir, "damaged")); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
	if _, err = s.Tree(t.Context(), digest); err == nil {
		t.Error("it is here again")
	}
	flip(t, s.blobPath(digest))
	_, err = s.Tree(t.Context(), digest)
	wantFault(t, err, "was damaged on this server")
}

// An unpacked layer that the disk changed is made again from what came.
func TestTreeOfDamagedUnpackedLayer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	digest := keep(t, s, zip(t, archive(t, regular("a", "1"))))
	tree, err := s.Tree(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	unpacked := s.unpackedPath(tree.layers[0])
	good, err := os.ReadFile(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unpacked, bytes.Repeat([]byte("x"), len(good)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.trees.forget()
	if _, err = s.Tree(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(unpacked); err != nil || !bytes.Equal(now, good) {
		t.Errorf("the unpacked layer has %d bytes, %v", len(now), err)
	}
}
