package nfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"walt/images/imagetest"
	"walt/netboot/boottest"
	"walt/vnode/lan"
)

// machine is a virtual machine that runs testdata/guest.
type machine struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// eventLimit is how long each line of a machine may take: it is emulated.
const eventLimit = 2 * time.Minute

// run does something and returns its output, which is no error.
func (m *machine) run(format string, args ...any) []string {
	m.t.Helper()
	lines, err := m.try(format, args...)
	if err != nil {
		m.t.Fatalf("%.100s: %v", fmt.Sprintf(format, args...), err)
	}
	return lines
}

// refused does something that fails with the error.
func (m *machine) refused(want, format string, args ...any) {
	m.t.Helper()
	if _, err := m.try(format, args...); err == nil || !strings.Contains(err.Error(), want) {
		m.t.Errorf("%.100s: %v, want %q", fmt.Sprintf(format, args...), err, want)
	}
}

func (m *machine) try(format string, args ...any) (lines []string, err error) {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.conn, format+"\n", args...); err != nil {
		m.t.Fatal(err)
	}
	for {
		if err := m.conn.SetReadDeadline(time.Now().Add(eventLimit)); err != nil {
			m.t.Fatal(err)
		}
		line, err := m.in.ReadString('\n')
		if err != nil {
			m.t.Fatalf("%.100s: %v after %d lines", fmt.Sprintf(format, args...), err, len(lines))
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "." {
			return lines, nil
		}
		if why, failed := strings.CutPrefix(line, "! "); failed {
			return lines, errors.New(why)
		}
		lines = append(lines, line)
	}
}

// command runs a program to its end and returns its output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%w: %s", err, e.Stderr)
		}
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

// boot starts a machine on the kernel of Debian's package, with the address on the
// network.
func boot(t *testing.T, network *lan.LAN, ip netip.Addr) *machine {
	t.Helper()
	qemu := imagetest.Part(t, "qemu-system-x86_64", "qemu-system-x86")
	for program, pkg := range map[string]string{"cpio": "cpio", "modinfo": "kmod"} {
		imagetest.Part(t, program, pkg)
	}
	dir := t.TempDir()
	kernel := takeKernel(t, dir)
	initrd := makeInitrd(t, dir)
	listener, err := network.Listen(controlPort)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cable := lan.Cable{Name: "m", MAC: "52:54:00:00:00:01", IP: ip, Ours: filepath.Join(dir, "ours"), Peer: filepath.Join(dir, "peer")}
	if _, err := network.Connect(cable); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(qemu, "-accel", "tcg,thread=multi", "-machine", "q35,graphics=off", "-m", "1024", "-smp", "1", "-nodefaults",
		"-display", "none", "-no-reboot", "-serial", "file:"+filepath.Join(dir, "serial"),
		"-netdev", fmt.Sprintf("dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", cable.Peer, cable.Ours),
		"-device", "virtio-net-pci,netdev=n0,mac="+string(cable.MAC), "-kernel", kernel, "-initrd", initrd,
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 mitigations=off nokaslr me=%s test=%s:%d", ip, network.Server, controlPort))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone, end := context.WithCancel(context.Background())
	go func() { // until the end of QEMU, which the cleanup waits for
		_ = cmd.Wait()
		end()
		_ = listener.Close()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone.Done()
		if t.Failed() {
			serial, _ := os.ReadFile(filepath.Join(dir, "serial"))
			t.Logf("%s\n%s", &said, serial[max(0, len(serial)-4000):])
		}
	})
	tooLate := time.AfterFunc(eventLimit, func() { _ = cmd.Process.Kill() })
	conn, err := listener.Accept()
	if tooLate.Stop(); err != nil {
		t.Fatalf("the machine does not come: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return &machine{t, conn, bufio.NewReaderSize(conn, 64<<10)}
}

// takeKernel takes Debian's kernel for virtual machines, and puts its modules that a
// client needs into the directory, in the order of their use.
func takeKernel(t *testing.T, dir string) (kernel string) {
	t.Helper()
	from := boottest.SmallKernel(t)
	files := map[string]string{}
	for _, f := range strings.Fields(command(t, dir, "find", from, "-name", "*.ko")) {
		files[strings.ReplaceAll(strings.TrimSuffix(filepath.Base(f), ".ko"), "-", "_")] = f
	}
	var order []string
	var need func(name string)
	need = func(name string) {
		f := files[strings.ReplaceAll(name, "-", "_")]
		if f == "" || slices.Contains(order, f) { // it is part of the kernel, or there already
			return
		}
		for _, n := range strings.FieldsFunc(strings.TrimSpace(command(t, dir, "modinfo", "-F", "depends", f)), func(r rune) bool { return r == ',' }) {
			need(n)
		}
		order = append(order, f)
	}
	for _, name := range []string{"virtio_pci", "virtio_net", "nfsv3", "overlay"} {
		need(name)
	}
	if err := os.MkdirAll(filepath.Join(dir, "root/modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	for k, f := range order {
		if err := os.Symlink(f, filepath.Join(dir, fmt.Sprintf("root/modules/%02d", k))); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := filepath.Glob(from + "/boot/vmlinuz-*")
	return all[0]
}

func makeInitrd(t *testing.T, dir string) string {
	t.Helper()
	command(t, ".", "go", "build", "-o", filepath.Join(dir, "root/init"), "./testdata/guest")
	initrd := filepath.Join(dir, "initrd")
	command(t, filepath.Join(dir, "root"), "sh", "-c", "find . | cpio --quiet -L -o -H newc > "+initrd)
	return initrd
}

const (
	controlPort = 700
	nfsPort     = 2049
)

const mountOptions = "vers=3,proto=tcp,mountproto=tcp,port=2049,mountport=2049,addr=10.99.0.1,mountaddr=10.99.0.1,nolock,hard,nocto,actimeo=3600,rsize=1048576,timeo=50,retrans=3"

// What Linux sees of an image is what its archive has.
func TestLinux(t *testing.T) {
	if os.Getenv("WALT_MACHINES") == "" {
		t.Skip("starts a virtual machine: set WALT_MACHINES=1")
	}
	files := 10_000
	if os.Getenv("WALT_MACHINES") == "long" {
		files = 100_000
	}
	if n, err := strconv.Atoi(os.Getenv("WALT_FILES")); err == nil {
		files = n
	}
	network, err := lan.New(lan.Config{Subnet: netip.MustParsePrefix("10.99.0.0/24"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	me := netip.MustParseAddr("10.99.0.7")
	m := boot(t, network, me)
	all := hostile(files)
	d, tree := image(t, imagetest.Archive(t, all...))
	l := &lab{}
	l.show(me.String(), d, tree)
	server, logged := startOn(t, network, l)
	source := network.Server.String() + ":" + Path(d)

	m.refused("permission denied", "mount %s nfs /other "+mountOptions, "10.99.0.1:/sha256:"+strings.Repeat("0", 64))
	m.run("mount %s nfs /image "+mountOptions, source)
	want := linesOf(all)
	begin := time.Now()
	wantLines(t, m.run("walk /image"), want)
	t.Logf("%d files listed and read in %.1f s", len(want), time.Since(begin).Seconds())

	if got := m.run("df /image"); len(got) != 1 || !strings.Contains(got[0], " 0 free, names of 255") {
		t.Errorf("df: %q", got)
	}
	big := strings.Repeat(fmt.Sprintf("%d.", bigFile), bigFile)[:bigFile]
	for _, part := range [][2]int{{0, 1}, {4095, 2}, {readLimit - 1, readLimit + 2}, {bigFile - 5, 100}} {
		want := fmt.Sprintf("%x", sha256.Sum256([]byte(big[part[0]:min(len(big), part[0]+part[1])])))
		if got := m.run("sum /image/sizes/%d %d %d", bigFile, part[0], part[1]); !slices.Equal(got, []string{want}) {
			t.Errorf("%v: %q, want %q", part, got, want)
		}
	}
	m.refused("read-only file system", "write /image/sizes/1")
	m.run("as 0 /image/etc/mode-111")
	m.refused("permission denied", "as 5 /image/etc/mode-111")
	m.run("as 5 /image/etc/mode-4755")
	m.run("as 1 /image/etc/owner-0")

	// The server goes away with all that it knows; the machine goes on.
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	again, tree := image(t, imagetest.Archive(t, all...))
	l.show(me.String(), again, tree)
	startOn(t, network, l)
	m.run("forget")
	below := "\"usr/3/"
	want = slices.DeleteFunc(want, func(l string) bool { return !strings.HasPrefix(l, below) })
	for k, l := range want {
		want[k] = strings.ReplaceAll(l, below, "\"")
	}
	wantLines(t, m.run("walk /image/usr/3"), want)

	// The image under a layer in memory, as nodes have it for their root.
	m.run("mount tmpfs tmpfs /ram size=50%%")
	m.run("mkdir /ram/upper")
	m.run("mkdir /ram/work")
	m.run("mount overlay overlay /root lowerdir=/image,upperdir=/ram/upper,workdir=/ram/work")
	wantLines(t, m.run("walk /root/etc"), m.run("walk /image/etc"))
	m.run("as 5 /root/etc/mode-4755") // not its owner: Linux asks for an access control list
	m.run("write /root/sizes/4097")
	m.run("write /root/dev/null")
	m.refused("permission denied", "as 5 /root/etc/mode-111")
	m.refused("no such device or address", "write /root/dev/fifo") // nobody reads from it
	if n, of := logged.count("level=WARN"), logged.count("refused to mount"); n == 0 || n != of {
		t.Errorf("%d warnings in the log, %d of them of the image that the machine may not see, want no others", n, of)
	}
}

// startOn serves on the network of machines.
func startOn(t *testing.T, network *lan.LAN, l *lab) (*Server, *logs) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // a minute after another server's end
		listener, err := network.Listen(nfsPort)
		if err == nil {
			return serve(t, listener, l)
		}
		if time.Since(begin) > eventLimit {
			t.Fatal(err)
		}
	}
}
