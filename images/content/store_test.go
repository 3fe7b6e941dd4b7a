package content

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseDigest(t *testing.T) {
	t.Parallel()
	good := "sha256:" + strings.Repeat("0a", 32)
	if d, err := ParseDigest(good); err != nil || string(d) != good || d.Hex() != good[7:] {
		t.Errorf("got %q, %v", d, err)
	}
	for _, s := range []string{"", "sha256:", good[7:], good + "0", good[:70], strings.ToUpper(good), "sha512:" + strings.Repeat("0", 128), "sha256:../" + good[10:], good + "\n"} {
		if d, err := ParseDigest(s); err == nil {
			t.Errorf("%q became %q", s, d)
		}
		if _, err := ParseManifest([]byte(`{"config":{"digest":"` + strings.ReplaceAll(s, "\n", `\n`) + `"}}`)); err == nil {
			t.Errorf("a manifest with the digest %q is valid", s)
		}
	}
}

func TestAddRefusesOtherContent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	b := Blob{Digest: Sum([]byte("hello")), Size: 5}
	for _, other := range []string{"", "hell", "hello!", "hallo"} {
		if err := s.Add(b, strings.NewReader(other)); !errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if left := leftovers(t, s); s.Has(b) || len(left) > 0 {
		t.Errorf("something is here, or %v was left", left)
	}
	if err := s.Add(b, strings.NewReader("hello")); err != nil || !s.Has(b) || len(s.Missing([]Blob{b})) > 0 {
		t.Errorf("it is not here: %v", err)
	}
}

func TestAdoptWhatWasSpilled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dir, err := s.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Spill(dir, strings.NewReader("hello"))
	if err != nil || b.Digest != Sum([]byte("hello")) || b.Size != 5 || s.Has(b) {
		t.Fatalf("got %+v, %v", b, err)
	}
	for range 2 {
		if err := s.Adopt(dir, b); err != nil || !s.Has(b) {
			t.Errorf("it is not here: %v", err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) > 0 {
		t.Errorf("%v was left, %v", all, err)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	digest := keep(t, s, zip(t, archive(t, regular("a", "1"))))
	s.Floor = 1 << 60
	if err := s.CheckSpace(1); !errors.Is(err, syscall.ENOSPC) || DiskFull(err) == nil {
		t.Errorf("got %v", err)
	}
	if err := s.Add(Blob{Digest: Sum([]byte("x")), Size: 1}, bytes.NewReader([]byte("x"))); DiskFull(err) == nil {
		t.Errorf("got %v", err)
	}
	_, err := s.Tree(t.Context(), digest)
	wantFault(t, err, "disk for images of this server is full")
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestOpenRemovesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	digest := keep(t, s, archive(t, regular("a", "1")))
	if err := os.WriteFile(filepath.Join(s.tmp(), "123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, again); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if _, err := again.Tree(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if _, err := Open("/dev/null/images", time.Now); err == nil {
		t.Error("a file was opened as a directory")
	}
}
