//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unpack unpacks the archive at a URL into the root of its thread.
func unpack(url string, log *record) error {
	t := &transfer{url: url, log: log, patience: patience}
	defer t.Close()
	files, err := unpackTar(bufio.NewReaderSize(t, 1<<20))
	if err != nil {
		return fmt.Errorf("unpack into memory: %w", err)
	}
	log.logf("unpacked %d files, %d MB", files, t.at>>20)
	return nil
}

// unpackTar unpacks an archive, which must have its end: archive/tar takes one that ends
// between two files for a whole one, so r must fail there.
func unpackTar(r io.Reader) (files int, err error) {
	archive := tar.NewReader(r)
	type dated struct {
		name string
		when time.Time
	}
	var dirs []dated // whose times change until all is there
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return files, err
		}
		name := path.Clean("/" + h.Name)
		if err := unpackFile(archive, h, name); err != nil {
			return files, fmt.Errorf("%s: %w", name, err)
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, dated{name, h.ModTime})
		}
		files++
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		setTime(dirs[i].name, dirs[i].when)
	}
	return files, nil
}

// unpackFile makes one file with all that belongs to it.
func unpackFile(r io.Reader, h *tar.Header, name string) error {
	if h.Typeflag != tar.TypeDir {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	var err error
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeLink:
		return os.Link(path.Clean("/"+h.Linkname), name)
	case tar.TypeDir:
		err = makeDir(name)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, name)
	case tar.TypeReg:
		err = writeFrom(r, name)
	case tar.TypeChar:
		err = unix.Mknod(name, unix.S_IFCHR|mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		err = unix.Mknod(name, unix.S_IFBLK|mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeFifo:
		err = unix.Mkfifo(name, mode)
	default:
		return nil // what no file system has
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(name, mode); err != nil {
			return err
		}
	}
	for key, value := range h.PAXRecords { // behind chown, which takes capabilities away
		if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if err := unix.Lsetxattr(name, attr, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return fmt.Errorf("attribute %s: %w", attr, err)
			}
		}
	}
	setTime(name, h.ModTime)
	return nil
}

// makeDir makes a directory, in place of whatever else has its name.
func makeDir(name string) error {
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Mkdir(name, 0o700)
}

func writeFrom(r io.Reader, name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// setTime sets the time of a file; one that cannot be set is no harm.
func setTime(name string, when time.Time) {
	ts := unix.NsecToTimespec(when.UnixNano())
	unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
