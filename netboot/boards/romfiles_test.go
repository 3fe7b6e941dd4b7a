package boards_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/ethernet"
	"walt/images"
	"walt/images/imagetest"
	"walt/netboot/boards"
	"walt/netboot/boottest"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// piImage is an image with a kernel for boards, and files beside it.
func piImage(t *testing.T, kernel string, more ...*tar.Header) v1.Image {
	const dir = "lib/modules/6.1.0/"
	return imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t, append(more,
		imagetest.Regular("boot/vmlinuz-6.1.0", kernel), imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.alias", ""),
		imagetest.Regular(dir+"modules.builtin", "kernel/nfs.ko\nkernel/nfsv3.ko\nkernel/overlay.ko\n"),
	)...)}, "walt.node.models", "rpi-3-b,rpi-4-b")
}

// board is a Raspberry Pi, the only device of a segment: the node one.
type board struct {
	*fixture
	server *boards.Server
	mac    ethernet.MAC
	hosts  dhcp.Hosts
	ip     netip.Addr
}

func newBoard(f *fixture, model images.Model) *board {
	b := &board{fixture: f, mac: "b8:27:eb:00:00:01"}
	b.server = f.boards(known{b.mac: {Name: "one", MAC: b.mac, Kind: nodes.Node, Model: model}})
	b.hosts, _ = boards.Boards(b.server, nil, segment)
	b.begins()
	return b
}

// begins has it ask for its address, as after a reset.
func (b *board) begins() {
	b.T.Helper()
	h, ok := b.hosts.Host(b.T.Context(), pi(b.mac, "odd"))
	if !ok {
		b.T.Fatal("it gets no address")
	}
	b.ip = h.IP
}

// gets is what a file holds that it asks for, or what is wrong.
func (b *board) gets(name string) string {
	b.T.Helper()
	f, err := b.hosts.(tftp.Files).Open(b.ip, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "none"
	case err != nil:
		return err.Error()
	}
	defer f.Close()
	content := make([]byte, f.Size)
	if _, err := f.ReadAt(content, 0); err != nil && f.Size > 0 {
		b.T.Error(err)
	}
	if f.Blocks != 65535 {
		b.T.Errorf("%s may have %d blocks", name, f.Blocks)
	}
	return string(content)
}

// The ROM of a board gets what boots the image of its node: files that are made for that,
// others of the image, and none from elsewhere.
func TestFilesOfPis(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("pi", piImage(t, boottest.KernelARM64,
		imagetest.Regular("boot/firmware/bootcode.bin", "first"), imagetest.Regular("boot/firmware/start.elf", "start"),
		imagetest.Regular("boot/rpi-3-b/start.elf", "not this"), imagetest.Regular("boot/rpi-3-b/fixup.dat", "of the model"),
		imagetest.Regular("boot/rpi-4-b/other.dat", "of another model"), imagetest.Regular("boot/BCM2710-RPI-3-B.DTB", "tree"),
		imagetest.Regular("boot/firmware/overlays/uart.dtbo", "overlay"), imagetest.Symlink("boot/firmware/linked.bin", "/etc/linked"),
		imagetest.Regular("etc/linked", "linked"), imagetest.Symlink("boot/firmware/out.bin", "../../../../../../etc/passwd"),
		imagetest.Regular("boot/firmware/config.txt", "dtparam=audio=on\r\nkernel=other.img\n[pi4]\narm_64bit=0\ninitramfs old followkernel\ncmdline=x"),
		imagetest.Regular("boot/firmware/cmdline.txt", "root=/dev/mmcblk0p2"),
	))
	f.Choose("one", "pi")
	b := newBoard(f, "rpi-3-b")
	for name, want := range map[string]string{
		"bootcode.bin": "first", "1234abcd/start.elf": "start", "/1234abcd/fixup.dat": "of the model", "b8-27-eb-00-00-01/start.elf": "start",
		"1234abcd/bcm2710-rpi-3-b.dtb": "tree", "1234abcd/overlays/UART.dtbo": "overlay", "1234abcd//overlays/uart.dtbo": "overlay",
		"linked.bin": "linked", "out.bin": "none", "other.dat": "none", "rpi-4-b/other.dat": "of another model", "bootsig.bin": "none", "overlays": "none",
		"../etc/linked": "none", "1234abcd/../../etc/linked": "none", "etc/linked": "none", "": "none", ".": "none", "1234abcd/": "none",
		"walt-kernel.img": boottest.KernelARM64,
	} {
		if got := b.gets(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	const settings = "# for this boot of one, with what its image has in config.txt\ndtparam=audio=on\n[pi4]\n" +
		"[all]\narm_64bit=1\nkernel=walt-kernel.img\ninitramfs walt-initrd.img followkernel\ncmdline=cmdline.txt\nenable_uart=1\n"
	if got := b.gets("1234abcd/config.txt"); got != settings {
		t.Errorf("its settings are %q, want %q", got, settings)
	}
	line := b.gets("1234abcd/cmdline.txt")
	_, token, _ := strings.Cut(strings.TrimSpace(line), "/boot/")
	want := "console=serial0,115200 console=tty1 panic=10 walt.mac=b8:27:eb:00:00:01 walt.ip=127.0.0.2/24 walt.gw=127.0.0.3 walt.boot=http://127.0.0.1:80/boot/TOKEN\n"
	if token == "" || strings.ReplaceAll(line, token, "TOKEN") != want {
		t.Errorf("its command line is %q, want %q", line, want)
	}
	if got := b.gets("walt-initrd.img"); got == "none" || len(got) < 100 {
		t.Errorf("its initramfs is %q", got)
	}
	steps := strings.Join(f.Steps(), ", ")
	if steps != "one address, one kernel" {
		t.Errorf("it was at %s", steps)
	}

	// Until it asks for its address again all of that is of one boot; then of the next one,
	// which several requests at once begin once.
	if again := b.gets("cmdline.txt"); again != line {
		t.Errorf("within one boot its command line becomes %q", again)
	}
	f.Choose("one", "blue")
	b.begins()
	if got := b.gets("bootcode.bin"); got != "none" {
		t.Errorf("with an image for PCs it gets %q", got)
	}
	f.Hears("one failed: the image cannot boot a machine: the kernel /boot/vmlinuz-6.1.0 is for amd64, not for arm64 or arm")
	f.Choose("one", "pi")
	b.begins()
	lines := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			got := b.gets("cmdline.txt")
			mu.Lock()
			defer mu.Unlock()
			if got != tftp.ErrLater.Error() {
				lines[got] = true
			}
		})
	}
	all.Wait()
	if len(lines) != 1 || lines[line] || lines["none"] {
		t.Errorf("the next boot has the command lines %v", lines)
	}
}

// An image without firmware gets that of the one that the configuration names.
func TestFirmwareOfPis(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("pi", piImage(t, boottest.KernelARM, imagetest.Regular("boot/start.elf", "own"), imagetest.Regular("usr/lib/linux-image-6.1.0/broadcom/bcm2711-rpi-4-b.dtb", "tree of its kernel")))
	f.Add("firmware", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Regular("boot/start.elf", "lent"), imagetest.Regular("boot/fixup.dat", "lent"), imagetest.Regular("usr/lib/raspi-firmware/bootcode.bin", "lent"),
		imagetest.Regular("boot/bcm2711-rpi-4-b.dtb", "lent"),
	)}, "walt.node.models", "rpi-3-b"))
	f.Choose("one", "pi")
	b := newBoard(f, "rpi-2-b")
	for lender, want := range map[string]string{"": "own none none", "alice/firmware": "own lent lent", "alice/nothing": "own none none"} {
		b.server.SetFirmware(lender)
		if got := b.gets("start.elf") + " " + b.gets("fixup.dat") + " " + b.gets("bootcode.bin"); got != want {
			t.Errorf("with the firmware of %q it gets %s, want %s", lender, got, want)
		}
	}
	b.server.SetFirmware("alice/firmware")
	if got := b.gets("1234abcd/bcm2711-rpi-4-b.dtb"); got != "tree of its kernel" {
		t.Errorf("its device tree is %q", got)
	}
	if got := b.gets("config.txt"); !strings.Contains(got, "\narm_64bit=0\n") {
		t.Errorf("with a kernel of 32 bits its settings are %q", got)
	}
}

// What has more blocks than its ROM counts is refused before the board tries, in words.
func TestLargeKernelOfPi(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("large", piImage(t, boottest.KernelARM64+strings.Repeat("\x00", 40<<20), imagetest.Regular("boot/start.elf", "start")))
	f.Choose("one", "large")
	if got := newBoard(f, "rpi-4-b").gets("start4.elf"); got != "none" {
		t.Errorf("a 4, which asks for blocks of 1024 bytes, gets %q", got)
	}
	if got := newBoard(f, "rpi-3-b").gets("start.elf"); !strings.HasPrefix(got, "the image cannot boot a rpi-3-b: its kernel has 40 MiB, and the board's firmware loads less than 32") {
		t.Errorf("a 3 gets %q", got)
	}
	f.Hears("one failed: the image cannot boot a rpi-3-b: its kernel has 40 MiB, and the board's firmware loads less than 32")

	// Compressed, which the hint advises, it is sent as it is.
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	_, err := z.Write([]byte(boottest.KernelARM64 + strings.Repeat("\x00", 40<<20)))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	f.Add("packed", piImage(t, small.String(), imagetest.Regular("boot/start.elf", "start")))
	f.Choose("one", "packed")
	b := newBoard(f, "rpi-3-b")
	if got := b.gets("start.elf") + " " + b.gets("walt-kernel.img"); got != "start "+small.String() {
		t.Errorf("with a kernel that is compressed a 3 gets %.40q", got)
	}
}

// A ROM that asked five times for its address and for no file sleeps, and one that is
// silent in the middle of a file has stopped: that is told once. Others go on.
func TestStoppedROM(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := time.Now()
	f.Now = func() time.Time { return now }
	f.Add("pi", piImage(t, boottest.KernelARM64, imagetest.Regular("boot/start.elf", "start"), imagetest.Regular("boot/fixup.dat", "fixup")))
	f.Choose("one", "pi")
	b := newBoard(f, "rpi-3-b")
	is := func(after time.Duration, want string) {
		t.Helper()
		now = now.Add(after)
		if got := boards.Stopped(b.hosts)[b.mac]; got != want {
			t.Errorf("it is told %q, want %q", got, want)
		}
	}
	reads := func(name string, bytes int) (close func()) {
		t.Helper()
		f, err := b.hosts.(tftp.Files).Open(b.ip, name)
		if err == nil {
			_, err = f.ReadAt(make([]byte, bytes), 0)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return func() { f.Close() }
	}
	for range 3 {
		b.begins()
	}
	is(time.Hour, "")
	b.begins()
	is(9*time.Second, "")
	const sleeps = "its firmware asked 5 times for its address, and for no file"
	is(time.Second, sleeps)
	is(time.Hour, "")
	for range 5 {
		b.begins()
	}
	b.gets("bootcode.bin") // which there is not, but it asked
	is(time.Hour, "")

	reads("start.elf", 2)()
	is(59*time.Second, "")
	is(time.Second, "its firmware stopped in the middle of the file start.elf")
	is(time.Hour, "")
	reads("start.elf", 5)()
	is(time.Hour, "")
	probe := reads("start.elf", 2) // which ends after the next file began
	b.gets("fixup.dat")
	probe()
	is(time.Hour, "")
	reads("start.elf", 2)()
	b.begins()
	is(time.Hour, "")

	b.gets("walt-kernel.img")
	reads("fixup.dat", 2)() // it looked what there is, and begins with its kernel
	is(time.Hour, "")
}
