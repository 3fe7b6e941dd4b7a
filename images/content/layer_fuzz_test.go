package content

import (
	"archive/tar"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walt/images/imagetest"
)

// Whatever a layer says, its files can be walked and read in bounded time and
// memory, and nothing appears on the server but in its directory.
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
		f.Add(b, b)
		f.Add(zip(f, b), b[:len(b)/2])
	}
	top := imagetest.MemoryDir(f)
	f.Fuzz(func(t *testing.T, below, above []byte) {
		dir := filepath.Join(top, "parent", "content")
		l, err := Open(dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(filepath.Dir(dir))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		files, err := l.Tree(ctx, keep(t, l, below, above))
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
