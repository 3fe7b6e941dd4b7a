package imagetest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// MemoryDir is a directory in memory, where the system has one: a fuzzer that
// waits for a disk at every try does nothing else.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "walt-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	alone := filepath.Join(dir, "alone") // as that of TempDir is
	if err := os.Mkdir(alone, 0o700); err != nil {
		t.Fatal(err)
	}
	return alone
}

// KeepFinds has the fuzzer go on looking, where it would spend up to a minute for
// each input that reaches new code on making that shorter: as many tries as the
// square of its length, which archives need in vain.
func KeepFinds(f *testing.F) {
	f.Helper()
	if err := flag.Set("test.fuzzminimizetime", "20x"); err != nil {
		f.Fatal(err)
	}
}
