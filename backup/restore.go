package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"walt/fault"
)

// Restore makes the data directory of an archive; the directory must be empty
// or not exist, and may be a symbolic link to such a one. store makes the store
// in a data directory that is being filled. After a fault nothing was restored.
func Restore(ctx context.Context, data string, store func(data string, r io.Reader) error, r io.Reader) (Contents, error) {
	var c Contents
	data, err := place(data)
	if err != nil {
		return c, err
	}
	// Beside its place until it is whole, so that half of it is never served.
	temp := data + ".restoring"
	if err = os.MkdirAll(filepath.Dir(temp), 0o755); err == nil {
		err = os.Mkdir(temp, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return c, fault.Failedf("cannot restore: %v", err).WithHint("remove it if an earlier restore was cut off")
	case err != nil:
		return c, fault.Failedf("cannot restore: %v", err).WithHint("choose another directory with --data DIR")
	}
	if c, err = extract(ctx, temp, store, r); err == nil {
		err = syncFolders(temp)
	}
	if err == nil {
		if err = os.Remove(data); errors.Is(err, fs.ErrNotExist) { // else it was empty
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(temp, data)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(data))
	}
	if err != nil && fault.As(err) == nil {
		err = fault.Failedf("cannot restore into %s: %v; nothing was restored", data, err)
	}
	if err != nil {
		return c, errors.Join(err, os.RemoveAll(temp))
	}
	return c, nil
}

// place is where a data directory is to be, behind symbolic links. What is there
// must be an empty directory that another can take the place of.
func place(data string) (string, error) {
	at, err := filepath.EvalSymlinks(data)
	if errors.Is(err, fs.ErrNotExist) {
		if _, link := os.Lstat(data); link != nil {
			return filepath.Clean(data), nil
		}
		return "", fault.Failedf("cannot restore into %s: it is a symbolic link to what does not exist", data).WithHint("make the directory that it names, or choose another with --data DIR")
	}
	var present []fs.DirEntry
	if err == nil {
		present, err = os.ReadDir(at)
	}
	switch {
	case err != nil:
		return "", fault.Failedf("cannot restore into %s: %v", data, err).WithHint("choose another directory with --data DIR")
	case len(present) > 0:
		return "", fault.Failedf("cannot restore into %s: it is not empty", data).WithHint("choose another directory with --data DIR")
	}
	// A mount point stays where it is: better said now than when all is unpacked.
	mode := os.FileMode(0o700)
	if info, err := os.Stat(at); err == nil {
		mode = info.Mode().Perm()
	}
	if err = os.Remove(at); err == nil {
		err = os.Mkdir(at, mode)
	}
	if err != nil {
		return "", fault.Failedf("cannot restore into %s: no other directory can take its place: %v", data, err).
			WithHint("choose another directory, such as %s with --data DIR, for the server as well", filepath.Join(data, "data"))
	}
	return filepath.Abs(at)
}

// syncFolders brings the names of all files below dir to the disk; the files are
// there already.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = syncFolder(file)
		}
		return err
	})
}

func syncFolder(dir string) error {
	names, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(names.Sync(), names.Close())
}

// extract writes every entry of the archive below data.
func extract(ctx context.Context, data string, store func(data string, r io.Reader) error, r io.Reader) (c Contents, err error) {
	archive := tar.NewReader(r)
	stored := false
	for {
		if ctx.Err() != nil {
			return c, fault.New(fault.Interrupted, "interrupted; nothing was restored")
		}
		h, err := archive.Next()
		if err != nil {
			return c, damaged(err)
		}
		switch {
		case h.Typeflag != tar.TypeReg:
			err = fault.Failedf("this is not a backup of walt: %q is no file", h.Name)
		case h.Name == lastEntry:
			if !stored {
				return c, incomplete("the store")
			}
			if err := c.verify(archive); err != nil {
				return c, err
			}
			return c, atEnd(archive, r)
		case h.Name == storeEntry && !stored:
			stored = true
			err = store(data, archive)
		case isCopied(h.Name):
			c.Files, c.Bytes = c.Files+1, c.Bytes+h.Size
			err = extractFile(filepath.Join(data, filepath.FromSlash(h.Name)), archive)
		default:
			err = fault.Failedf("this is not a backup of walt: it holds %q", h.Name)
		}
		if err != nil {
			return c, err
		}
	}
}

// verify compares what was restored with what the last entry says there is.
func (c Contents) verify(last io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(last, 100))
	if err != nil {
		return damaged(err)
	}
	if len(text) == 0 { // of an archive that does not tell
		if c.Files == 0 {
			return incomplete("the server's keys")
		}
		return nil
	}
	var said Contents
	if _, err := fmt.Sscanf(string(text), "%d %d\n", &said.Files, &said.Bytes); err != nil {
		return damaged(err)
	}
	switch {
	case c.Files < said.Files:
		return incomplete(fmt.Sprintf("%d of %d files", said.Files-c.Files, said.Files))
	case c.Files > said.Files:
		return damaged(fmt.Errorf("it holds %d files, not the %d that it tells of", c.Files, said.Files))
	case c.Bytes != said.Bytes:
		return damaged(fmt.Errorf("its files have %d bytes in all, not the %d that it tells of", c.Bytes, said.Bytes))
	}
	return nil
}

// atEnd returns a fault when an archive goes on after its last entry, as one does
// that another was added to: which of the two is meant nobody can know.
func atEnd(archive *tar.Reader, r io.Reader) error {
	_, err := archive.Next()
	if err == nil {
		err = errors.New("something follows its last entry")
	}
	if !errors.Is(err, io.EOF) {
		return damaged(err)
	}
	block := make([]byte, 32<<10)
	for { // tools fill the last block of a tape with zeros
		n, err := r.Read(block)
		if len(bytes.TrimLeft(block[:n], "\x00")) > 0 {
			return damaged(errors.New("something follows its end"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
	}
}

func incomplete(what string) error {
	return fault.Failedf("the backup is incomplete: it lacks %s; nothing was restored", what).WithHint("use another backup")
}

func damaged(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok { // a directory, a bad disk
		return fault.Failedf("cannot read the backup: %v; nothing was restored", err).WithHint("name the file that backup wrote")
	}
	return fault.Failedf("the backup is damaged or cut short: %v; nothing was restored", err).WithHint("use another backup")
}

// isCopied reports whether an entry names a file in one of the copied folders:
// an archive from elsewhere must not write outside of them.
func isCopied(name string) bool {
	for _, folder := range copied {
		if strings.HasPrefix(name, folder+"/") && path.Clean(name) == name && filepath.IsLocal(name) {
			return true
		}
	}
	return false
}

// extractFile writes one file; one that is named by the SHA-256 of its content
// must have it.
func extractFile(file string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return damaged(fmt.Errorf("%s is there twice", filepath.Base(file)))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if failed, ok := errors.AsType[*fs.PathError](err); ok && failed.Path == file {
		return err // a full disk is no damage of the backup
	}
	if err != nil {
		return damaged(err)
	}
	if filepath.Base(filepath.Dir(file)) == "sha256" && hex.EncodeToString(sum.Sum(nil)) != filepath.Base(file) {
		return fault.Failedf("the backup is damaged: %s has another content; nothing was restored", filepath.Base(file))
	}
	return f.Sync()
}
