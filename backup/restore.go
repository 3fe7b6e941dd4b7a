package backup

import (
	"archive/tar"
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
// or not exist. store makes the store in a data directory that is being
// filled. After a fault nothing was restored.
func Restore(ctx context.Context, data string, store func(data string, r io.Reader) error, r io.Reader) (Contents, error) {
	var c Contents
	if present, err := os.ReadDir(data); err == nil && len(present) > 0 {
		return c, fault.Failedf("cannot restore into %s: it is not empty", data).WithHint("choose another directory with --data DIR")
	}
	// Beside its place until it is whole, so that half of it is never served.
	temp := filepath.Clean(data) + ".restoring"
	err := os.MkdirAll(filepath.Dir(temp), 0o755)
	if err == nil {
		err = os.Mkdir(temp, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return c, fault.Failedf("cannot restore: %v", err).WithHint("remove it if an earlier restore was cut off")
	case err != nil:
		return c, fault.Failedf("cannot restore: %v", err).WithHint("choose another directory with --data DIR")
	}
	c, err = extract(ctx, temp, store, r)
	if err == nil {
		err = os.Remove(data) // empty, or not there
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(temp, data)
	}
	if err != nil {
		return c, errors.Join(err, os.RemoveAll(temp))
	}
	return c, nil
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
		case h.Name == lastEntry:
			if !stored {
				return c, incomplete("the store")
			}
			return c, c.verify(archive)
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
	if c != said {
		return incomplete(fmt.Sprintf("%d of %d files", said.Files-c.Files, said.Files))
	}
	return nil
}

func incomplete(what string) error {
	return fault.Failedf("the backup is incomplete: it lacks %s; nothing was restored", what).WithHint("use another backup")
}

func damaged(err error) error {
	return fault.Failedf("the backup is damaged or cut short: %v; nothing was restored", err)
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
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), r); err != nil {
		return damaged(err)
	}
	if filepath.Base(filepath.Dir(file)) == "sha256" && hex.EncodeToString(sum.Sum(nil)) != filepath.Base(file) {
		return fault.Failedf("the backup is damaged: %s has another content; nothing was restored", filepath.Base(file))
	}
	return f.Sync()
}
