//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"walt/netboot/instructions"
)

// newRoot is where the image's root is made.
const newRoot = "/sysroot"

// mountKernel mounts the file systems of the kernel, which all else needs.
func mountKernel() error {
	for _, m := range []struct {
		kind, dir string
		flags     uintptr
		data      string
	}{
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		if err := mount(m.kind, m.dir, m.kind, m.flags, m.data); err != nil {
			return err
		}
	}
	return nil
}

// mount mounts at a directory, which it makes.
func mount(source, dir, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s at %s: %w", kind, dir, err)
	}
	return nil
}

// mountRoot makes the root file system at newRoot. It returns how many bytes the image
// itself takes of what is in memory.
func mountRoot(r instructions.Root, d *drivers, log *record) (taken int64, err error) {
	if len(r.RAM) > 0 {
		return unpackRoot(r, log)
	}
	return 0, mountNFS(r, d)
}

// mountNFS makes a root of layers on the server below a writable one in memory.
func mountNFS(r instructions.Root, d *drivers) error {
	for _, name := range []string{"nfs", "nfsv3", "overlay"} {
		d.load(name) // what is built in is not there; mounting tells the rest
	}
	var lower []string
	for i, n := range r.NFS {
		dir := fmt.Sprintf("/lower/%d", i)
		host, port, err := net.SplitHostPort(n.Server)
		if err != nil {
			return err
		}
		if err := mount(host+":"+n.Path, dir, "nfs", unix.MS_RDONLY|unix.MS_NOATIME, nfsOptions(host, port, r.Options)); err != nil {
			return fmt.Errorf("%w (%s:%s)", err, n.Server, n.Path)
		}
		lower = append(lower, dir)
	}
	total, err := memory()
	if err != nil {
		return err
	}
	options, err := room(r, total, 0, 0)
	if err != nil {
		return err
	}
	if err := mount("walt-upper", "/upper", "tmpfs", 0, options+",mode=0755"); err != nil {
		return err
	}
	for _, dir := range []string{"/upper/up", "/upper/work", "/upper/volumes"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := likeRoot("/upper/up", lower[0]); err != nil {
		return err
	}
	err = mount("walt", newRoot, "overlay", 0, "lowerdir="+strings.Join(lower, ":")+",upperdir=/upper/up,workdir=/upper/work")
	if err != nil {
		return err
	}
	return mount("/upper/volumes", newRoot+volumes, "", unix.MS_BIND, "")
}

// likeRoot gives the upper directory, whose metadata is that of the root, what the
// image's root has.
func likeRoot(upper, lower string) error {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return fmt.Errorf("the image's root: %w", err)
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(upper, st.Mode&0o7777)
}

// nfsOptions is what mount(2) is told, which without a helper in user space must be all.
// Nothing on the server changes, so attributes are kept for an hour. With noacl, what
// users other than root do fails on an overlay: it asks for the lists, and takes the
// error that there are none for its own.
func nfsOptions(host, port, options string) string {
	if options == "" {
		options = "hard,nocto,actimeo=3600,rsize=1048576,timeo=50,retrans=3"
	}
	return fmt.Sprintf("vers=3,proto=tcp,mountproto=tcp,port=%s,mountport=%s,addr=%s,mountaddr=%s,nolock,%s", port, port, host, host, options)
}

// inRoot calls f on a thread whose root is the new root, where symbolic links lead
// where they will lead when it is the root of all.
func inRoot(f func() error) error {
	done := make(chan error)
	go func() { // ends when f does, and its thread with it
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("a thread of its own: %w", err)
			return
		}
		if err := unix.Chroot(newRoot); err != nil {
			done <- fmt.Errorf("enter the root: %w", err)
			return
		}
		if err := unix.Chdir("/"); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// switchRoot makes the new root the root, with the file systems of the kernel, and
// frees the memory of the initramfs. There is no way back.
func switchRoot() error {
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		to := path.Join(newRoot, dir)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("/"+dir, to, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move /%s: %w", dir, err)
		}
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Fstat(old, &st) == nil {
		empty(os.NewFile(uintptr(old), "initramfs"), st.Dev)
	}
	return nil
}

// empty removes what is in a directory and on its device. What cannot be removed stays.
func empty(dir *os.File, dev uint64) {
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		fd := int(dir.Fd())
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != dev {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			unix.Unlinkat(fd, name, 0)
			continue
		}
		if sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			empty(os.NewFile(uintptr(sub), name), dev)
		}
		unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	}
}
