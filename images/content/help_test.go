package content

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/images/imagetest"
)

// What layers are made of.
var (
	created   = imagetest.Created
	regular   = imagetest.Regular
	directory = imagetest.Directory
	symlink   = imagetest.Symlink
	hardlink  = imagetest.Hardlink
	archive   = imagetest.Archive
	zip       = imagetest.Gzip
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep stores the layers as they are and a manifest of them.
func keep(t testing.TB, s *Store, layers ...[]byte) (manifest Digest) {
	t.Helper()
	add := func(content []byte) Blob {
		b := Blob{Digest: Sum(content), Size: int64(len(content))}
		if err := s.Add(b, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		return b
	}
	var list []string
	for _, content := range layers {
		b := add(content)
		list = append(list, fmt.Sprintf(`{"digest":%q,"size":%d}`, b.Digest, b.Size))
	}
	return add([]byte(`{"layers":[` + strings.Join(list, ",") + `]}`)).Digest
}

// files are the merged files of the layers.
func files(t testing.TB, s *Store, layers ...[]byte) *Tree {
	t.Helper()
	tree, err := s.Tree(t.Context(), keep(t, s, layers...))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// leftovers are the temporary files of a store.
func leftovers(t testing.TB, s *Store) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(s.tmp())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantFault fails unless err is a fault whose message has all the words.
func wantFault(t testing.TB, err error, words ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Fatalf("got %v, want a fault with %q", err, words)
	}
	for _, w := range words {
		if !strings.Contains(f.Msg, w) {
			t.Errorf("got %q, want something with %q", f.Msg, w)
		}
	}
}
