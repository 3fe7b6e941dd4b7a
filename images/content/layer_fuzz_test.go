package content

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"walt/images/imagetest"
)

// Whatever a layer says, its files can be walked and read in bounded time and
// memory, and nothing appears on the server but in its directory. What is tried is
// short, see expand, and the store is one for all tries, in memory.
func FuzzLayer(f *testing.F) {
	for _, entries := range [][]*tar.Header{
		{regular("a", "1"), hardlink("b", "a"), symlink("c", "b")},
		{regular("../../etc/passwd", "x"), regular("/etc/passwd", "y"), symlink("e", "../../../etc")},
		{directory("d"), regular("d/.wh..wh..opq", ""), regular(".wh.a", ""), regular("d/.wh.", "")},
		{symlink("l", "l"), symlink("m", "n"), symlink("n", "./m/")},
		{symlink("up", "../.."), directory("up/x"), symlink("x/y", "/up/x/y/../..")},
		{regular(strings.Repeat("long/", 100)+"x", ""), {Typeflag: tar.TypeChar, Name: "null", Devmajor: 1}},
		{regular("f", "file"), regular("f/g", "in it"), regular("f", "file again")},
	} {
		b := archive(f, entries...)
		f.Add(shorten(b), shorten(b), byte(asTar))
		f.Add(shorten(b), shorten(b[:len(b)/2]), byte(asGzip))
		f.Add(shorten(b), zip(f, b), byte(asIs))
	}
	imagetest.KeepFinds(f)
	top := imagetest.MemoryDir(f)
	dir := filepath.Join(top, "parent", "content")
	store, err := Open(dir, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	z := gzip.NewWriter(nil) // a new one for each try would cost more than all the rest
	f.Fuzz(func(t *testing.T, below, above []byte, how byte) {
		layers := []Blob{lay(t, store, z, below, asTar), lay(t, store, z, above, how)}
		defer func() {
			for _, b := range layers {
				os.Remove(store.blobPath(b.Digest))
				os.Remove(store.unpackedPath(b.Digest))
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		files, err := store.merge(ctx, layers)
		if ctx.Err() != nil {
			t.Fatal("it hangs")
		}
		if err != nil {
			return
		}
		walkAll(t, files)
		for _, d := range []string{top, filepath.Dir(dir)} {
			if all, err := os.ReadDir(d); err != nil || len(all) != 1 {
				t.Fatalf("%s has %v, %v", d, all, err)
			}
		}
	})
}

// How the bytes that the fuzzer makes up become a layer.
const (
	asTar  = iota // expanded
	asGzip        // expanded and compressed
	asIs
	hows
)

// lay makes bytes a layer of the store.
func lay(t *testing.T, s *Store, z *gzip.Writer, b []byte, how byte) Blob {
	t.Helper()
	switch how % hows {
	case asTar:
		b = mend(expand(b))
	case asGzip:
		var packed bytes.Buffer
		z.Reset(&packed)
		z.Write(mend(expand(b)))
		z.Close()
		b = packed.Bytes()
	}
	blob := Blob{Digest: Sum(b), Size: int64(len(b))}
	if err := os.WriteFile(s.blobPath(blob.Digest), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return blob
}

// shorten leaves out most of an archive: zeros, of which one stays, and how many
// there were.
func shorten(b []byte) (short []byte) {
	for len(b) > 0 {
		zeros := len(b) - len(bytes.TrimLeft(b, "\x00"))
		if zeros = min(zeros, 255); zeros == 0 {
			short, b = append(short, b[0]), b[1:]
			continue
		}
		short, b = append(short, 0, byte(zeros)), b[zeros:]
	}
	return short
}

// expand is what was shortened.
func expand(short []byte) (b []byte) {
	for i := 0; i < len(short); i++ {
		if short[i] != 0 || i+1 == len(short) {
			b = append(b, short[i])
			continue
		}
		i++
		b = append(b, make([]byte, short[i])...)
	}
	return b
}

// mend puts the right checksums into the headers of an archive: without them
// nothing that the fuzzer changes there would be read.
func mend(b []byte) []byte {
	const block = 512
	for at := 0; at+block <= len(b); {
		h := b[at : at+block]
		if len(bytes.TrimLeft(h, "\x00")) == 0 {
			at += block
			continue
		}
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
		size, err := strconv.ParseInt(strings.Trim(string(h[124:136]), " \x00"), 8, 32)
		if err != nil {
			size = 0
		}
		at += block + int(size+block-1)/block*block
	}
	return b
}

func TestExpand(t *testing.T) {
	t.Parallel()
	b := archive(t, regular("a", "1"), symlink("c", "b"))
	short := shorten(b)
	if got := mend(expand(short)); !bytes.Equal(got, b) || len(short) > len(b)/5 {
		t.Errorf("%d bytes became %d, and those %d others", len(b), len(short), len(got))
	}
}

// walkAll looks at every file of a tree as far as names are valid.
func walkAll(t *testing.T, tree *Tree) {
	left := 10_000
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if left--; left == 0 {
			return fs.SkipAll
		}
		if err != nil && fs.ValidPath(p) {
			return err
		}
		if !fs.ValidPath(p) {
			return fs.SkipDir
		}
		if strings.Contains(p, "..") && strings.HasPrefix(p, "../") {
			t.Errorf("%q is outside", p)
		}
		if d.Type()&fs.ModeSymlink != 0 {
			tree.Stat(p) // may lead nowhere, but comes back
			return nil
		}
		if d.Type().IsRegular() {
			if b, err := tree.ReadFile(p); err != nil {
				return err
			} else if i, _ := d.Info(); int64(len(b)) != i.Size() {
				t.Errorf("%q has %d bytes, not %d", p, len(b), i.Size())
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
