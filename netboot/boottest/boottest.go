// Package boottest has what tests boot machines with: a kernel of Debian, the agent,
// small images and QEMU. Such tests run where WALT_MACHINES=1 is set, as root on Debian;
// those that take long where it is "long".
package boottest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Wait is how long a test waits for anything that a machine does.
const Wait = 3 * time.Minute

// Need skips the test unless machines are wanted, and fails it when a program is
// missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getenv("WALT_MACHINES") == "" {
		t.Skip("it boots machines: set WALT_MACHINES=1")
	}
	for _, p := range append(programs, "qemu-system-x86_64") {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is missing", p)
		}
	}
}

// NeedLong is Need for a test that takes minutes.
func NeedLong(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getenv("WALT_MACHINES") != "long" {
		t.Skip("it boots machines for minutes: set WALT_MACHINES=long")
	}
	Need(t, programs...)
}

// Kernel is a directory with boot/ and lib/modules of Debian's kernel for virtual
// machines. It is downloaded once, and kept in the directory for temporary files.
func Kernel(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "walt-boottest-kernel")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	work := t.TempDir()
	script := `set -e
name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1)
apt-get -qq download "$name"
dpkg-deb -x "$name"_*.deb tree
depmod -b tree "${name#linux-image-}"
mv tree ` + dir + `.$$ && mv -T ` + dir + `.$$ ` + dir
	c := exec.Command("sh", "-c", script)
	c.Dir = work
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		if _, ok := os.Stat(dir); ok != nil { // another test was not faster
			t.Fatalf("a kernel: %v\n%s", err, out)
		}
	}
	return dir
}

// SmallKernel is the same with no more modules than machines need: a tenth of its size.
func SmallKernel(t testing.TB) string {
	t.Helper()
	whole := Kernel(t)
	dir := whole + "-few"
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	script := `set -e
version=$(ls "$1/lib/modules")
mkdir -p "tree/boot" "tree/lib/modules/$version"
cp "$1"/boot/vmlinuz-* "$1"/boot/config-* tree/boot/
for module in overlay nfs nfsv3 virtio_net virtio_pci virtio_rng vmxnet3 af_packet; do
	modprobe -d "$1" -S "$version" --show-depends "$module"
done | sed -n "s|^insmod $1/||p" | sort -u > wanted
(cd "$1" && xargs cp --parents -t "$OLDPWD/tree") < wanted
cp "$1/lib/modules/$version"/modules.order "$1/lib/modules/$version"/modules.builtin* "tree/lib/modules/$version/"
depmod -b tree "$version"
mv tree "$2.$$" && mv -T "$2.$$" "$2"`
	c := exec.Command("sh", "-c", script, "small", whole, dir)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		if _, ok := os.Stat(dir); ok != nil { // another test was not faster
			t.Fatalf("a small kernel: %v\n%s", err, out)
		}
	}
	return dir
}

// Agent is the program of machines, built for PCs.
func Agent(t testing.TB) []byte { return Program(t, "walt/netboot/agent") }

// Program is the one of a package, built for machines that are PCs.
func Program(t testing.TB, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, name)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Busybox is a tar archive of an image that is little but busybox, whose init it has if
// init is set, and what else is given: contents by path.
func Busybox(t testing.TB, init bool, more map[string]string) []byte {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return BusyboxOf(t, program, init, more)
}

// BusyboxOf is Busybox with the program in a file, which may be for other machines.
func BusyboxOf(t testing.TB, program string, init bool, more map[string]string) []byte {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin/", "sbin/", "etc/", "root/", "tmp/", "dev/", "proc/", "sys/", "run/"} {
		put(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	put(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.walt": "kept"}}, string(b))
	for _, name := range strings.Fields("sh cat ls id uname hostname sleep echo kill ps df mount stty tty true false rm tail getfattr grep cut sort stat wc head date reboot poweroff") {
		put(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, "")
	}
	if init {
		put(tar.Header{Typeflag: tar.TypeLink, Name: "sbin/init", Linkname: "bin/busybox"}, "")
	}
	put(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/:/bin/sh\n")
	put(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, "root:x:0:\ndisk:x:6:root,worker\nworker:x:1000:\n")
	for name, content := range more {
		put(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Machine is a virtual machine.
type Machine struct {
	SSH    string        // address on loopback that leads to its port 22
	Ended  chan struct{} // closed when QEMU has ended
	serial string
}

// MAC is the address of a machine's interface.
const MAC = "52:54:00:12:34:56"

// Server is the address that machines have for the loopback of the test.
const Server = "10.0.2.2"

// Start starts a machine with a kernel, an initramfs, the rest of a command line, and more
// options of QEMU, whose network is called n0: a card of theirs there takes the place of virtio's. Its memory is in megabytes. It is gone when the test ends; its console is in the log
// of a test that fails.
func Start(t testing.TB, kernel string, initramfs []byte, memory int, params string, options ...string) *Machine {
	t.Helper()
	dir := t.TempDir()
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, initramfs, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{SSH: l.Addr().String(), Ended: make(chan struct{}), serial: filepath.Join(dir, "serial")}
	l.Close()
	if !slices.ContainsFunc(options, func(o string) bool { return strings.Contains(o, "netdev=n0") }) {
		options = append(options, "-device", "virtio-net-pci,netdev=n0,romfile=,mac="+MAC)
	}
	c := exec.Command("qemu-system-x86_64", append(options, "-accel", "tcg,thread=multi", "-machine", "q35,graphics=off", "-cpu", "max",
		"-m", fmt.Sprint(memory), "-nodefaults", "-display", "none", "-no-reboot",
		"-netdev", "user,id=n0,restrict=off,hostfwd=tcp:"+m.SSH+"-:22",
		"-serial", "file:"+m.serial, "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet mitigations=off nokaslr panic=1 walt.mac="+MAC+" walt.ip=10.0.2.15/24 walt.gw="+Server+" "+params)...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with QEMU, which the cleanup ends at the latest
		c.Wait()
		close(m.Ended)
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		<-m.Ended
		if t.Failed() {
			t.Logf("console:\n%s\n%s", m.Console(), out.String())
		}
	})
	return m
}

// Console is what the machine wrote on its serial line.
func (m *Machine) Console() string {
	b, _ := os.ReadFile(m.serial) // there is none yet
	return string(b)
}

// Header is a kernel for PCs of which all is missing but what tells that it is one, and its
// version: enough for who only looks at it.
func Header(version string) string {
	b := make([]byte, 0x400)
	copy(b[0x1fe:], "\x55\xaa")
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x100)
	b[0x236] = 1
	copy(b[0x300:], version+" (someone@somewhere) #1\x00")
	return string(b)
}

// KernelARM64 and KernelARM are what kernels of boards begin with, in the same way.
var (
	KernelARM64 = strings.Repeat("\x00", 0x38) + "ARM\x64" + strings.Repeat("\x00", 64)
	KernelARM   = strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01" + strings.Repeat("\x00", 64)
)
