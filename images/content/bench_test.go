package content

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
)

// manyFiles is a layer of n files of 1 KiB, 100 in each directory.
func manyFiles(b *testing.B, n int) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range n {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: manyName(i), Mode: 0o644, Size: 1024, ModTime: created}
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 1024)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return zip(b, buf.Bytes())
}

func manyName(i int) string {
	return fmt.Sprintf("usr/share/doc/package-%d/some/file-%d.txt", i/100, i)
}

// Opening, reading and closing one of 100,000 files after the first use.
func BenchmarkOpen(b *testing.B) {
	const n = 100_000
	tree := files(b, newStore(b), manyFiles(b, n))
	for i := 0; b.Loop(); i++ {
		f, err := tree.Open(manyName(i * 7919 % n))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// The first use of an image of 100,000 files: heap-MB is what its tree keeps.
func BenchmarkFirstUse(b *testing.B) {
	layer := manyFiles(b, 100_000)
	for b.Loop() {
		b.StopTimer()
		l := newStore(b)
		digest := keep(b, l, layer)
		before := heap()
		b.StartTimer()
		if _, err := l.Tree(b.Context(), digest); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
		runtime.KeepAlive(l)
		b.StartTimer()
	}
}

// The same when its layers are unpacked already, as after a restart.
func BenchmarkFirstUseUnpacked(b *testing.B) {
	l := newStore(b)
	digest := keep(b, l, manyFiles(b, 100_000))
	for b.Loop() {
		l.trees.recent = nil
		if _, err := l.Tree(b.Context(), digest); err != nil {
			b.Fatal(err)
		}
	}
}

// Numbering 100,000 files: heap-B/file is what that takes of memory for each.
func BenchmarkNumbers(b *testing.B) {
	l := newStore(b)
	digest := keep(b, l, manyFiles(b, 100_000))
	for b.Loop() {
		b.StopTimer()
		l.trees.recent = nil
		tree, err := l.Tree(b.Context(), digest)
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		b.StartTimer()
		n, _ := tree.Usage()
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/float64(n), "heap-B/file")
		runtime.KeepAlive(tree)
		b.StartTimer()
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Reading a directory of 1,000 entries.
func BenchmarkReadDir(b *testing.B) {
	const n = 1000
	var layer []*tar.Header
	for i := range n {
		layer = append(layer, regular(fmt.Sprint("many/", i), ""))
	}
	tree := files(b, newStore(b), archive(b, layer...))
	for b.Loop() {
		if _, err := tree.ReadDir("many"); err != nil {
			b.Fatal(err)
		}
	}
}
