// Package backup writes a data directory as one archive and makes a data
// directory of an archive. How the store writes and reads itself is the
// store's business, and comes in as a function. Its one surprising rule: the
// store comes first in the archive, so that the content that its rows name is
// still there when its turn comes, on a server that goes on running.
package backup

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// An archive is a tar file: the store in an entry of its own, the files of the
// copied folders under their own names, and a last entry without which the
// archive is not whole. It holds how many files there are and how many bytes,
// in decimal; the first archives had nothing in it.
const (
	storeEntry = "state"
	lastEntry  = "complete"
)

// copied are the folders of the data directory that are archived file by file:
// the server's keys and the content of images. Everything else is in the store
// or can be made again.
var copied = []string{"keys", "images/blobs"}

// Contents is what an archive holds beside the store: keys and images.
type Contents struct {
	Files int
	Bytes int64
}

func (c Contents) String() string {
	noun := "files"
	if c.Files == 1 {
		noun = "file"
	}
	return fmt.Sprintf("the store, and %d %s of keys and images (%.1f MB)", c.Files, noun, float64(c.Bytes)/1e6)
}

// Write writes the archive of the data directory to w; store writes the content
// of the store. What fails midway has written nothing that Restore accepts.
func Write(ctx context.Context, data string, store func(context.Context, io.Writer) error, w io.Writer) (Contents, error) {
	var c Contents
	archive := tar.NewWriter(w)
	if err := addStore(ctx, archive, data, store); err != nil {
		return c, fmt.Errorf("back up the store: %w", err)
	}
	for _, folder := range copied {
		if err := c.addFolder(ctx, archive, data, folder); err != nil {
			return c, fmt.Errorf("back up %s: %w", folder, err)
		}
	}
	last := fmt.Appendf(nil, "%d %d\n", c.Files, c.Bytes)
	if err := archive.WriteHeader(&tar.Header{Name: lastEntry, Mode: 0o600, Size: int64(len(last))}); err != nil {
		return c, err
	}
	if _, err := archive.Write(last); err != nil {
		return c, err
	}
	return c, archive.Close()
}

// addStore adds the store. A tar header tells the size of what follows, so the
// store is written to a temporary file first, which has no name: a kill leaves
// nothing of it.
func addStore(ctx context.Context, archive *tar.Writer, data string, store func(context.Context, io.Writer) error) error {
	temp, err := os.CreateTemp(data, "backup-")
	if err != nil {
		return err
	}
	defer temp.Close()
	err = os.Remove(temp.Name())
	if err == nil {
		err = store(ctx, temp)
	}
	if err == nil {
		_, err = temp.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	_, err = addFile(archive, storeEntry, temp)
	return err
}

// addFolder adds the regular files below a folder of the data directory.
func (c *Contents) addFolder(ctx context.Context, archive *tar.Writer, data, folder string) error {
	return filepath.WalkDir(filepath.Join(data, folder), func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(data, file)
		if err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := addFile(archive, filepath.ToSlash(name), f)
		c.Files, c.Bytes = c.Files+1, c.Bytes+n
		return err
	})
}

func addFile(archive *tar.Writer, name string, f *os.File) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return 0, err
	}
	return io.Copy(archive, f)
}
