// Command guest is the init of a virtual machine that tells what Linux sees of a
// file system: it loads the modules in /modules, takes the address on eth0 that
// /proc/cmdline has after "me=", connects to the one after "test=" and does what
// the lines that come from there say. It answers each with lines, the last of which
// is "." or "! " and an error.
package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	err := run()
	fmt.Println("guest:", err)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		err := os.MkdirAll(m.dir, 0o755)
		if err = cmp.Or(err, unix.Mount(m.kind, m.dir, m.kind, 0, "")); err != nil && m.kind != "devtmpfs" {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, m := range modules {
		f, err := os.Open(m)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", m, err)
		}
		f.Close()
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	told := map[string]string{}
	for _, word := range strings.Fields(string(line)) {
		name, value, _ := strings.Cut(word, "=")
		told[name] = value
	}
	me, err := netip.ParseAddr(told["me"])
	if err == nil {
		err = address("eth0", me.As4(), [4]byte{255, 255, 255, 0})
	}
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	conn, err := net.Dial("tcp", told["test"])
	if err != nil {
		return err
	}
	return obey(conn)
}

// address gives an interface its address, when it is there.
func address(name string, ip, mask [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	set := func(request uint, value []byte) {
		err = cmp.Or(err, ifr.SetInet4Addr(value))
		err = cmp.Or(err, unix.IoctlIfreq(fd, request, ifr))
	}
	for range 100 {
		err = nil
		if set(unix.SIOCSIFADDR, ip[:]); !errors.Is(err, unix.ENODEV) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	set(unix.SIOCSIFNETMASK, mask[:])
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return cmp.Or(err, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

func obey(conn net.Conn) error {
	in, out := bufio.NewScanner(conn), bufio.NewWriterSize(conn, 64<<10)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if err := do(out, words[0], words[1:]); err != nil {
			fmt.Fprintf(out, "! %v\n", err)
		} else {
			fmt.Fprintln(out, ".")
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return in.Err()
}

func do(out io.Writer, what string, args []string) error {
	switch what {
	case "mount": // SOURCE TYPE DIR OPTIONS
		flags := uintptr(0)
		if args[1] == "nfs" {
			flags = unix.MS_RDONLY
		}
		err := os.MkdirAll(args[2], 0o755)
		return cmp.Or(err, unix.Mount(args[0], args[2], args[1], flags, strings.Join(args[3:], ",")))
	case "umount":
		return unix.Unmount(args[0], 0)
	case "mkdir":
		return os.MkdirAll(args[0], 0o755)
	case "forget": // the contents that the kernel keeps in memory, but not their handles
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o600)
	case "walk":
		w := walker{out: out, root: args[0], first: map[uint64]string{}}
		return w.walk("")
	case "sum": // FILE OFFSET BYTES
		return sum(out, args)
	case "write": // FILE
		f, err := os.OpenFile(args[0], os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("written")
		return cmp.Or(err, f.Close())
	case "as": // UID FILE: open it as that user
		return as(args)
	case "df":
		var st unix.Statfs_t
		err := unix.Statfs(args[0], &st)
		fmt.Fprintf(out, "%d files, %d bytes, %d free, names of %d\n", st.Files, st.Blocks*uint64(st.Bsize), st.Bfree+st.Ffree, st.Namelen)
		return err
	}
	return errors.New("what?")
}

func sum(out io.Writer, args []string) error {
	var off, n int64
	if _, err := fmt.Sscan(args[1]+" "+args[2], &off, &n); err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, off, n)); err != nil {
		return err
	}
	fmt.Fprintf(out, "%x\n", h.Sum(nil))
	return nil
}

// as opens a file as another user.
func as(args []string) error {
	var uid int
	if _, err := fmt.Sscan(args[0], &uid); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// the thread stays locked, so that it ends with the goroutine
		runtime.LockOSThread()
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); e != 0 {
			done <- e
			return
		}
		fd, err := unix.Open(args[1], unix.O_RDONLY|unix.O_NONBLOCK, 0)
		unix.Close(fd)
		done <- err
	}()
	return <-done
}

// walker lists what is below a directory, a line for each file: see line.
type walker struct {
	out   io.Writer
	root  string
	first map[uint64]string // the first path of a file, by its number
}

func (w *walker) walk(below string) error {
	dir := filepath.Join(w.root, below)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := e.Name()
		if below != "" {
			path = below + "/" + path
		}
		if err := w.line(path); err != nil {
			return err
		}
		if e.IsDir() {
			if err := w.walk(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// line tells of a file: its path, the first path with the same number, type and
// mode, links, owner, device, length, time, and the sum of the content or where a
// link leads to.
func (w *walker) line(path string) error {
	full := w.root + "/" + path
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if w.first[st.Ino] == "" {
		w.first[st.Ino] = path
	}
	what := "-"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f, err := os.Open(full)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		if n != st.Size {
			return fmt.Errorf("%q: %d of %d bytes", path, n, st.Size)
		}
		what = hex.EncodeToString(h.Sum(nil))
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		if err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		what = fmt.Sprintf("%q", target)
	}
	_, err := fmt.Fprintf(w.out, "%q %q %o %d %d:%d %d:%d %d %d.%09d %s\n", path, w.first[st.Ino], st.Mode, st.Nlink, st.Uid, st.Gid,
		unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)), st.Size, st.Mtim.Sec, st.Mtim.Nsec, what)
	return err
}
