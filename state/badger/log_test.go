package badger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestReadWritten reads files that are holes for the most part, or entirely.
func TestReadWritten(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	for name, writes := range map[string][]int64{
		"nothing": nil, "the beginning": {0}, "in between": {100, 3 << 20}, "the end": {size - 1},
	} {
		file := filepath.Join(t.TempDir(), "log")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for _, at := range writes {
			if _, err := f.WriteAt([]byte("x"), at); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readWritten(file)
		if err != nil || !bytes.HasPrefix(whole, got) || bytes.ContainsRune(whole[len(got):], 'x') {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := readWritten(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
