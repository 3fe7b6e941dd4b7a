package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"walt/fault"
	"walt/state"
)

// A backup is a tar archive: the store first, so that whatever it refers to is
// still there when its turn comes, then the keys and the content of images, and
// an empty last entry that tells that it is whole.
const (
	storeEntry = "state"
	lastEntry  = "complete"
)

// copied are the folders of the data directory that a backup takes as they are.
var copied = []string{"keys", "images/blobs"}

// backup writes all data as one archive while the server runs.
func (s *server) backup(ctx context.Context, w io.Writer) error {
	defer s.library.Pause()()
	return writeBackup(ctx, s.data, s.store, w)
}

func writeBackup(ctx context.Context, data string, store *state.Badger, w io.Writer) error {
	archive := tar.NewWriter(w)
	if err := addStore(ctx, archive, data, store); err != nil {
		return fmt.Errorf("back up the store: %w", err)
	}
	for _, folder := range copied {
		err := filepath.WalkDir(filepath.Join(data, folder), func(file string, e fs.DirEntry, err error) error {
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
			return addFile(archive, filepath.ToSlash(name), file)
		})
		if err != nil {
			return fmt.Errorf("back up %s: %w", folder, err)
		}
	}
	if err := archive.WriteHeader(&tar.Header{Name: lastEntry, Mode: 0o600}); err != nil {
		return err
	}
	return archive.Close()
}

// addStore adds a snapshot of the store; the archive wants its size first, so
// it goes through a file.
func addStore(ctx context.Context, archive *tar.Writer, data string, store *state.Badger) (err error) {
	temp, err := os.CreateTemp(data, "backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.Close(), os.Remove(temp.Name())) }()
	if err := store.Backup(ctx, temp); err != nil {
		return err
	}
	return addFile(archive, storeEntry, temp.Name())
}

func addFile(archive *tar.Writer, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

// backup is "waltd backup FILE": the copy of a stopped server's data.
func backup(ctx context.Context, args []string) (err error) {
	s := newSettings("backup")
	names, err := s.parse(args, "FILE")
	if err != nil {
		return err
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Data, "state")
	if _, err := os.Stat(dir); err != nil { // Open would make one
		return fault.Failedf("there is no data to back up: %v", err).WithHint("name the data directory with --data DIR")
	}
	store, err := state.Open(dir, slog.New(slog.DiscardHandler))
	if f := fault.As(err); f != nil {
		return f.WithHint("%s\nof a running server: ssh walt@SERVER advanced backup > FILE", f.Hint)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	f, err := os.OpenFile(names[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Failedf("cannot write the backup: %v", err).WithHint("name a file that does not exist yet")
	}
	if err := errors.Join(writeBackup(ctx, c.Data, store, f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(names[0]))
	}
	return nil
}

// restore is "waltd restore FILE": a data directory made of a backup.
func restore(ctx context.Context, args []string) error {
	s := newSettings("restore")
	names, err := s.parse(args, "FILE")
	if err != nil {
		return err
	}
	c, err := s.load()
	if err != nil {
		return err
	}
	f, err := os.Open(names[0])
	if err != nil {
		return fault.Failedf("cannot read the backup: %v", err).WithHint("name the file that backup wrote")
	}
	defer f.Close()
	if present, err := os.ReadDir(c.Data); err == nil && len(present) > 0 {
		return fault.Failedf("cannot restore into %s: it is not empty", c.Data).WithHint("choose another directory with --data DIR")
	}
	// Beside its place until it is whole, so that half of it is never served.
	temp := filepath.Clean(c.Data) + ".restoring"
	err = os.MkdirAll(filepath.Dir(temp), 0o755)
	if err == nil {
		err = os.Mkdir(temp, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fault.Failedf("cannot restore: %v", err).WithHint("remove it if an earlier restore was cut off")
	case err != nil:
		return fault.Failedf("cannot restore: %v", err).WithHint("choose another directory with --data DIR")
	}
	err = readBackup(ctx, temp, f)
	if err == nil {
		err = os.Remove(c.Data) // empty, or not there
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(temp, c.Data)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}

func readBackup(ctx context.Context, data string, r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		if ctx.Err() != nil {
			return fault.New(fault.Interrupted, "interrupted; nothing was restored")
		}
		h, err := archive.Next()
		if err != nil {
			return fault.Failedf("the backup is damaged or cut short: %v; nothing was restored", err)
		}
		switch {
		case h.Name == lastEntry:
			return nil
		case h.Name == storeEntry:
			err = state.Restore(filepath.Join(data, "state"), archive)
		case isCopied(h.Name):
			err = extract(filepath.Join(data, filepath.FromSlash(h.Name)), archive)
		default:
			err = fault.Failedf("this is not a backup of walt: it holds %q", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func isCopied(name string) bool {
	for _, folder := range copied {
		if strings.HasPrefix(name, folder+"/") && path.Clean(name) == name && filepath.IsLocal(name) {
			return true
		}
	}
	return false
}

// extract writes one file; one that is named by the SHA-256 of its content must
// have it.
func extract(file string, r io.Reader) (err error) {
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
		return fault.Failedf("the backup is damaged or cut short: %v; nothing was restored", err)
	}
	if filepath.Base(filepath.Dir(file)) == "sha256" && hex.EncodeToString(sum.Sum(nil)) != filepath.Base(file) {
		return fault.Failedf("the backup is damaged: %s has another content; nothing was restored", filepath.Base(file))
	}
	return f.Sync()
}
