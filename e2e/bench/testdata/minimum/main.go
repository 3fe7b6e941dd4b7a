// Command minimum is the init of a machine that is made by hand: it does the least that
// gives a machine the root file system of a node, and knows beforehand all that a node
// has to ask for. It says "minimum: up" on the console when a node would be up. What
// it needs is on the kernel's command line: min.port and min.path of the NFS server at
// 10.0.2.2, and min.init, which the image has or not.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	var err error
	if len(os.Args) > 1 {
		err = watch()
	} else {
		err = boot()
	}
	fmt.Println("minimum:", err)
	time.Sleep(time.Hour) // who started it finds the words
}

func boot() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
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
	if err := load("virtio_pci", "virtio_net", "nfsv3", "overlay"); err != nil {
		return err
	}
	if err := address("eth0", [4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0}); err != nil {
		return err
	}
	port := told["min.port"]
	options := fmt.Sprintf("vers=3,proto=tcp,mountproto=tcp,port=%s,mountport=%s,addr=10.0.2.2,mountaddr=10.0.2.2,nolock,hard,nocto,actimeo=3600,rsize=1048576,timeo=50,retrans=3", port, port)
	err = mount("10.0.2.2:"+told["min.path"], "/lower", "nfs", unix.MS_RDONLY|unix.MS_NOATIME, options)
	err = cmp.Or(err, mount("tmpfs", "/upper", "tmpfs", 0, "mode=0755"))
	err = cmp.Or(err, os.Mkdir("/upper/up", 0o755), os.Mkdir("/upper/work", 0o755))
	err = cmp.Or(err, mount("overlay", "/new", "overlay", 0, "lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work"))
	err = cmp.Or(err, os.WriteFile("/new/etc/hostname", []byte("minimum\n"), 0o644))
	err = cmp.Or(err, os.WriteFile("/new/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	if err != nil {
		return err
	}
	if told["min.init"] == "" {
		if err := enter(); err != nil {
			return err
		}
		if _, err := net.Listen("tcp", ":22"); err != nil {
			return err
		}
		fmt.Println("minimum: up")
		time.Sleep(24 * time.Hour)
	}
	if err := startWatch(); err != nil {
		return err
	}
	if err := enter(); err != nil {
		return err
	}
	return unix.Exec(told["min.init"], []string{told["min.init"]}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
}

// load loads modules of the initramfs behind what they need.
func load(names ...string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	dir := "/lib/modules/" + unix.ByteSliceToString(u.Release[:])
	text, err := os.ReadFile(path.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	deps := map[string][]string{}
	files := map[string]string{}
	for line := range strings.Lines(string(text)) {
		file, rest, _ := strings.Cut(line, ":")
		deps[file] = strings.Fields(rest)
		files[strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")] = file
	}
	done := map[string]bool{}
	insert := func(file string) error {
		if file == "" || done[file] { // built in, or there
			return nil
		}
		done[file] = true
		f, err := os.Open(path.Join(dir, file))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", file, err)
		}
		return nil
	}
	for _, name := range names {
		all := deps[files[name]]
		for i := len(all) - 1; i >= 0; i-- {
			err = cmp.Or(err, insert(all[i]))
		}
		err = cmp.Or(err, insert(files[name]))
	}
	return err
}

// address gives an interface its address and brings it up.
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
	for range 1000 {
		err = ifr.SetInet4Addr(ip[:])
		if err = cmp.Or(err, unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr)); !errors.Is(err, unix.ENODEV) {
			break
		}
		time.Sleep(time.Millisecond) // its driver is at work
	}
	err = cmp.Or(err, ifr.SetInet4Addr(mask[:]))
	err = cmp.Or(err, unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, ifr))
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err = cmp.Or(err, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	return nil
}

func mount(source, dir, kind string, flags uintptr, options string) error {
	err := os.MkdirAll(dir, 0o755)
	if err = cmp.Or(err, unix.Mount(source, dir, kind, flags, options)); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// enter makes the new root the root.
func enter() error {
	err := unix.Mount("/dev", "/new/dev", "", unix.MS_MOVE, "")
	err = cmp.Or(err, unix.Mount("/proc", "/new/proc", "", unix.MS_MOVE, ""))
	err = cmp.Or(err, unix.Chdir("/new"), unix.Mount(".", "/", "", unix.MS_MOVE, ""))
	if err = cmp.Or(err, unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	return nil
}

// startWatch starts watch, with the lists of connections and the console as its files.
func startWatch() error {
	files := []uintptr{0, 1, 2}
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f.Fd())
	}
	_, err := syscall.ForkExec("/minimum", []string{"@minimum", "watch"}, &syscall.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	return err
}

// watch waits until the image's SSH server listens.
func watch() error {
	b := make([]byte, 64<<10)
	for ; ; time.Sleep(20 * time.Millisecond) {
		for fd := 3; fd <= 4; fd++ {
			n, err := unix.Pread(fd, b, 0)
			if err != nil {
				return err
			}
			for line := range bytes.Lines(b[:n]) {
				words := bytes.Fields(line)
				if len(words) > 3 && bytes.HasSuffix(words[1], []byte(":0016")) && string(words[3]) == "0A" { // port 22 listens
					fmt.Println("minimum: up")
					time.Sleep(24 * time.Hour)
				}
			}
		}
	}
}
