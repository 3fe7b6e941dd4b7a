package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
)

// tree is one of an image.
type tree struct{ fstest.MapFS }

func (t tree) Reader(name string) (io.ReaderAt, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	return f.(io.ReaderAt), nil
}

// The files of an image are read, and nothing of it is changed. There is no room in it, nor in
// the root.
func TestImage(t *testing.T) {
	t.Parallel()
	c := use(t, fakeFolders{"image@tiny": func(ctx context.Context) (Folder, error) {
		return openTree(ctx, tree{fstest.MapFS{
			"etc/fstab": {Data: []byte("none\n"), Mode: 0o640},
			"etc/tab":   {Data: []byte("fstab"), Mode: fs.ModeSymlink | 0o777},
		}}), nil
	}})
	f, err := c.Open("/image@tiny/etc/tab")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "none\n" {
		t.Errorf("%q, %v", b, err)
	}
	if all, err := c.ReadDir("/image@tiny/etc"); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	if to, err := c.ReadLink("/image@tiny/etc/tab"); err != nil || to != "fstab" {
		t.Errorf("%q, %v", to, err)
	}
	if info, err := c.Lstat("/image@tiny/etc/tab"); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := c.Stat("/image@tiny/etc/tab"); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	for _, at := range []string{"/", "/image@tiny/etc"} {
		const readOnly = 1
		if v, err := c.StatVFS(at); err != nil || v.Bsize == 0 || v.Blocks != 0 || v.Bavail != 0 || v.Flag != readOnly {
			t.Errorf("%s: %v, %v", at, v, err)
		}
	}
	_, made := c.Create("/image@tiny/etc/new")
	for what, err := range map[string]error{
		"create": made, "remove": c.Remove("/image@tiny/etc/tab"), "mkdir": c.Mkdir("/image@tiny/d"), "rename": c.Rename("/image@tiny/etc/tab", "/image@tiny/t"),
		"symlink": c.Symlink("a", "/image@tiny/b"), "chmod": c.Chmod("/image@tiny/etc/fstab", 0o600), "posix-rename": c.PosixRename("/image@tiny/etc/tab", "/image@tiny/t"),
	} {
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !c.wasTold("images cannot be changed here") {
		t.Errorf("told %q", c.told)
	}
}
