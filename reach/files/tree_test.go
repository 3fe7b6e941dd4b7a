package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
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

// failing is a tree on a disk that fails.
type failing struct {
	tree
	opens bool
}

func (t failing) Reader(string) (io.ReaderAt, error) {
	if t.opens {
		return t, nil
	}
	return nil, errBroken
}

func (failing) ReadAt([]byte, int64) (int, error)      { return 0, errBroken }
func (failing) ReadDir(string) ([]fs.DirEntry, error)  { return nil, errBroken }
func (failing) Stat(name string) (fs.FileInfo, error)  { return fakeInfo{name}, nil }
func (failing) Lstat(name string) (fs.FileInfo, error) { return fakeInfo{name}, nil }

// fakeInfo is a file of some bytes.
type fakeInfo struct{ name string }

func (i fakeInfo) Name() string     { return i.name }
func (fakeInfo) Size() int64        { return 5 }
func (fakeInfo) Mode() fs.FileMode  { return 0o644 }
func (fakeInfo) ModTime() time.Time { return time.Time{} }
func (fakeInfo) IsDir() bool        { return false }
func (fakeInfo) Sys() any           { return nil }

var errBroken error = &fs.PathError{Op: "read", Path: "/var/lib/secret", Err: syscall.EIO}

// A disk that fails under an image is told as what it is, and not where the server keeps images.
func TestImageOnADiskThatFails(t *testing.T) {
	t.Parallel()
	for _, opens := range []bool{true, false} {
		folders := fakeFolders{"n1": host, "image@tiny": func(ctx context.Context) (Folder, error) { return openTree(ctx, failing{opens: opens}), nil }}
		c := use(t, folders)
		_, err := c.ReadDir("/image@tiny/etc")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("reading a directory: %v", err)
		}
		f, err := c.Open("/image@tiny/x")
		if err == nil {
			_, err = io.ReadAll(f)
			f.Close()
		}
		if err == nil || strings.Contains(err.Error(), "secret") || !c.wasTold(syscall.EIO.Error()) {
			t.Errorf("reading: %v, and the user is told %q", err, c.told)
		}
		if _, err := Copy(t.Context(), folders, "image@tiny:/x", "n1:"+t.TempDir(), false); !errors.Is(err, syscall.EIO) {
			t.Errorf("a copy: %v", err)
		}
	}
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
