//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// containers are directories that do not work on an overlay, with the programs whose
// they are.
var containers = map[string][]string{
	"/var/lib/docker":     {"/usr/bin/dockerd", "/usr/local/bin/dockerd", "/usr/sbin/dockerd"},
	"/var/lib/containerd": {"/usr/bin/containerd", "/usr/local/bin/containerd"},
	"/var/lib/kubelet":    {"/usr/bin/kubelet", "/usr/local/bin/kubelet"},
	"/var/lib/containers": {"/usr/bin/podman"},
}

// volumes is where the root has, until mountVolumes is done, an empty directory of the
// tmpfs that takes what is written to the overlay.
const volumes = "/.walt-volumes"

// mountVolumes has directories of the root of its thread be on that tmpfs itself, with
// their content: what is written to all of them has one limit. What fails is left as it
// is, and noted.
func mountVolumes(declared []string, log *record) {
	defer os.Remove(volumes)
	defer unix.Unmount(volumes, unix.MNT_DETACH)
	dirs := slices.Clone(declared)
	for dir, programs := range containers {
		if slices.ContainsFunc(append(programs, dir), isThere) {
			dirs = append(dirs, dir)
		}
	}
	for i, dir := range dirs {
		dirs[i] = path.Clean(dir)
	}
	slices.Sort(dirs) // those within others later
	for i, dir := range slices.Compact(dirs) {
		if err := mountVolume(path.Join(volumes, strconv.Itoa(i)), dir); err != nil {
			log.logf("the directory %s stays on the overlay: %v", dir, err)
		}
	}
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// mountVolume has a directory be a copy of it.
func mountVolume(copied, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := copyTree(dir, copied)
	if err == nil {
		err = mount(copied, dir, "", unix.MS_BIND, "")
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(copied))
	}
	return nil
}

// copyTree copies a directory into one that is there, with owners, modes, attributes,
// times and hard links. Sockets are left out.
func copyTree(from, to string) error {
	type inode struct{ dev, ino uint64 }
	linked := map[inode]string{}
	var dirs []string
	err := filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		target := path.Join(to, name[len(from):])
		if !e.IsDir() && st.Nlink > 1 {
			key := inode{st.Dev, st.Ino}
			if first, ok := linked[key]; ok {
				return os.Link(first, target)
			}
			linked[key] = target
		}
		if e.IsDir() {
			dirs = append(dirs, name)
		}
		return copyFile(name, target, &st)
	})
	for _, name := range slices.Backward(dirs) {
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil {
			copyTime(path.Join(to, name[len(from):]), &st)
		}
	}
	return err
}

func copyFile(from, to string, st *unix.Stat_t) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFDIR:
		if err = os.Mkdir(to, 0o700); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case unix.S_IFREG:
		var f *os.File
		if f, err = os.Open(from); err == nil {
			err = writeFrom(f, to)
			f.Close()
		}
	default:
		err = unix.Mknod(to, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := copyAttributes(from, to); err != nil {
		return fmt.Errorf("attributes of %s: %w", from, err)
	}
	copyTime(to, st)
	return nil
}

func copyAttributes(from, to string) error {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(from, names)
	if err != nil {
		return nil // it has none that can be read
	}
	for _, name := range splitZero(names[:n]) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			continue
		}
		if err := unix.Lsetxattr(to, name, value[:n], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

// splitZero splits words that end with a zero byte each.
func splitZero(b []byte) (words []string) {
	for start, i := 0, 0; i < len(b); i++ {
		if b[i] == 0 {
			words = append(words, string(b[start:i]))
			start = i + 1
		}
	}
	return words
}

func copyTime(name string, st *unix.Stat_t) {
	unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
