package boards_test

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"walt/images"
	"walt/images/imagetest"
	"walt/netboot/boottest"
	"walt/netboot/dhcp"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/netboot/tftp"
	"walt/nodes"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// readFile is a file that a board gets, or why it does not.
func readFile(files tftp.Files, ip netip.Addr, name string) (string, error) {
	f, err := files.Open(ip, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
	return string(b), err
}

// unscript is a script for U-Boot, out of the form in which that loads it.
func unscript(t *testing.T, image string) string {
	t.Helper()
	if len(image) < 72 {
		t.Fatalf("it is %q", image)
	}
	h, data := []byte(image[:64]), []byte(image[64:])
	be := binary.BigEndian
	sum := be.Uint32(h[4:])
	clear(h[4:8])
	if be.Uint32(h) != 0x27051956 || sum != crc32.ChecksumIEEE(h) || int(be.Uint32(h[12:])) != len(data) || be.Uint32(h[24:]) != crc32.ChecksumIEEE(data) || h[30] != 6 {
		t.Errorf("the header is %x", h)
	}
	if int(be.Uint32(data)) != len(data)-8 || be.Uint32(data[4:]) != 0 {
		t.Errorf("the sizes are %x", data[:8])
	}
	return string(data[8:])
}

// The conversation of a board with U-Boot: it waits until its model is told, and gets a
// script that loads the parts of its boot, until its agent has come.
func TestUBoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := time.Now()
	f.Now = func() time.Time { return now }
	const dir = "lib/modules/6.1.0/"
	f.Add("board", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t,
		imagetest.Regular("boot/vmlinuz-6.1.0", boottest.KernelARM64),
		imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.builtin", "nfs.ko\nnfsv3.ko\noverlay.ko\n"), imagetest.Regular(dir+"modules.alias", ""),
		imagetest.Regular("usr/lib/linux-image-6.1.0/rockchip/rk3399-x.dtb", "tree"), imagetest.Regular("etc/shadow", "secret"),
	)}, "walt.node.models", "rockpro-64"))
	f.Add("pc", piImage(t, boottest.KernelARM))
	f.Choose("one", "board")
	devices := known{
		one.MAC:             {Name: "one", MAC: one.MAC, Kind: nodes.Unknown},
		"52:54:00:00:00:03": {Name: "three", MAC: "52:54:00:00:00:03", Kind: nodes.Unknown},
	}
	hosts, _ := f.serves(nil, segment, devices)
	files := hosts.(tftp.Files)
	uboot := dhcp.Client{MAC: one.MAC, Class: "U-Boot.armv8", Arch: []uint16{22}}
	if h, ok := hosts.Host(t.Context(), uboot); !ok || h.Loader != "boot.scr.uimg" || devices[one.MAC].Model != "" {
		t.Errorf("it gets %+v, %v, and is %q", h, ok, devices[one.MAC].Model)
	}
	other := hostOf(t, hosts, "52:54:00:00:00:03")

	asks := func() string {
		t.Helper()
		s, err := readFile(files, one.IP, "boot.scr.uimg")
		if err != nil {
			t.Fatal(err)
		}
		return unscript(t, s)
	}
	shows := func(why, seconds string) {
		t.Helper()
		s := asks()
		if !strings.HasPrefix(s, `echo "walt: `+why+`; it asks again every `+seconds+" s\"\nsleep "+seconds+"\n") || !strings.Contains(s, "tftpboot ${scriptaddr} boot.scr.uimg; then source ${scriptaddr};") {
			t.Errorf("it is to do %q, want it to show %q", s, why)
		}
		// As extlinux has it that cannot be said: there are comments for now.
		if f, err := files.Open(one.IP, "pxelinux.cfg/01-52-54-00-00-00-01"); err != nil || f.Size != tftp.Unknown || f.Block != 8 {
			t.Errorf("its configuration is %+v, %v", f, err)
		} else {
			b := make([]byte, 8)
			for i := range int64(6) {
				if n, err := f.ReadAt(b, i/2*8); i%2 == 0 && err != tftp.ErrLater || i%2 == 1 && (err != nil || string(b[:n]) != "#......\n") {
					t.Errorf("its configuration goes on with %q, %v", b[:n], err)
				}
			}
		}
	}
	shows("its model is not known, tell it: device config one model=MODEL", "5")
	d := nodes.Device{Name: "one", MAC: one.MAC, Kind: nodes.Unknown, Model: "rockpro-64"}
	devices[one.MAC] = d
	shows("the default image of rockpro-64 is not here yet", "5")
	waiting, err := files.Open(one.IP, "pxelinux.cfg/01-52-54-00-00-00-01")
	if err != nil {
		t.Fatal(err)
	}
	d.Kind = nodes.Node
	devices[one.MAC] = d
	now = now.Add(6 * time.Second)
	var late []byte
	for err == nil || err == tftp.ErrLater {
		var n int
		b := make([]byte, 8)
		n, err = waiting.ReadAt(b, int64(len(late)))
		late = append(late, b[:n]...)
	}
	if err != io.EOF || !strings.HasPrefix(string(late), "DEFAULT walt\nLABEL walt\n\tKERNEL /walt/") || !strings.HasSuffix(string(late), "/dtb\n") {
		t.Errorf("one that waited is configured with %q, %v", late, err)
	}

	script := asks()
	_, token, _ := strings.Cut(script, "/boot/")
	token, _, _ = strings.Cut(token, "'")
	for _, want := range []string{
		"setenv bootargs 'panic=10 walt.mac=52:54:00:00:00:01 walt.ip=127.0.0.2/24 walt.gw=127.0.0.3 walt.boot=http://127.0.0.1:80/boot/" + token + "'\n",
		"tftpboot ${fdt_addr_r} walt/" + token + "/dtb/${fdtfile};",
		"if tftpboot ${kernel_addr_r} walt/" + token + "/kernel && tftpboot ${ramdisk_addr_r} walt/" + token + "/initrd; then\n\tbooti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${walt_fdt}\n",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("it is to do %q, want %q there", script, want)
		}
	}
	part := func(ip netip.Addr, name string) string {
		t.Helper()
		s, err := readFile(files, ip, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "none"
		case err != nil:
			return "refused"
		}
		return s
	}
	of := "walt/" + token + "/"
	for name, want := range map[string]string{
		of + "kernel": boottest.KernelARM64, "/" + of + "kernel": boottest.KernelARM64, of + "dtb/rockchip/rk3399-x.dtb": "tree", of + "dtb/rk3399-x.dtb": "none",
		of + "dtb/": "none", of + "dtb": "none", of + "dtb/../../../etc/shadow": "none", of + "dtb/../../../../etc/shadow.dtb": "none", of + "etc/shadow": "none", of: "none",
		"walt/": "refused", "walt/x/kernel": "refused", "walt/../etc/shadow": "refused", "boot.scr.uimg/": "none", "pxelinux.cfg/default": "none",
		"pxelinux.cfg/01-52-54-00-00-00-03": "none",
	} {
		if got := part(one.IP, name); got != want {
			t.Errorf("%s is %.40q, want %.40q", name, got, want)
		}
	}
	if got := part(other, of+"kernel"); got != "refused" {
		t.Errorf("another board gets %.40q", got)
	}
	initrd := part(one.IP, of+"initrd")
	name := t.TempDir() + "/initrd"
	if err := os.WriteFile(name, []byte(initrd), 0o600); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(netboottest.Unpacked(t, name), "agent for arm64") {
		t.Error("it is not the agent's initramfs")
	}

	// The same as extlinux has it, which is another boot.
	config := part(one.IP, "pxelinux.cfg/01-52-54-00-00-00-01")
	_, next, _ := strings.Cut(config, "/boot/")
	next, _, _ = strings.Cut(next, "\n")
	want := "DEFAULT walt\nLABEL walt\n\tKERNEL /walt/TOKEN/kernel\n\tINITRD /walt/TOKEN/initrd\n\tAPPEND panic=10 walt.mac=52:54:00:00:00:01 walt.ip=127.0.0.2/24 walt.gw=127.0.0.3 walt.boot=http://127.0.0.1:80/boot/TOKEN\n\tFDTDIR /walt/TOKEN/dtb\n"
	if next == "" || strings.ReplaceAll(config, next, "TOKEN") != want {
		t.Errorf("its configuration is %q, want %q", config, want)
	}
	if got := part(one.IP, of+"kernel"); got != "refused" {
		t.Errorf("of the boot before it gets %.40q", got)
	}
	i, _ := f.Ask(one, next)
	f.AsAgent(one, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if got := part(one.IP, "walt/"+next+"/kernel"); got != "refused" {
		t.Errorf("when its agent has come it gets %.40q", got)
	}

	// What it cannot boot is said there, too, when its firmware has looked for an address.
	shows("the system that it booted still runs", "5")
	hosts.Host(t.Context(), uboot)
	d.Model = "rpi-2-b"
	devices[one.MAC] = d
	const why = "the image cannot boot a machine: the kernel /boot/vmlinuz-6.1.0 is for arm64, not for arm"
	shows(why, "30")
	for range 2 {
		f.Hears("one failed: " + why)
	}
	f.Choose("one", "pc")
	if s := asks(); !strings.Contains(s, "\tbootz ${kernel_addr_r} ") || !strings.Contains(s, " smsc95xx.macaddr=52:54:00:00:00:01'\n") || strings.Contains(s, "/dtb/") {
		t.Errorf("with a kernel for arm it is to do %q", s)
	}
}

// Cards and sticks of WalT ask for scripts of its images: they get the server's own, which
// boot the kernel that the image has for the model, with its device tree, its modules and
// the words of its label and of the node.
func TestCardsOfWalT(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	modules := func(version string) []*tar.Header {
		dir := "lib/modules/" + version + "/"
		return []*tar.Header{imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.builtin", "nfs.ko\nnfsv3.ko\noverlay.ko\n"), imagetest.Regular(dir+"modules.alias", "")}
	}
	all := append(modules("6.1-v7+"), modules("6.1+")...)
	all = append(
		all,
		imagetest.Regular("boot/kernel7.img", boottest.KernelARM), imagetest.Regular("boot/kernel.img", boottest.KernelARM+"old"), imagetest.Regular("boot/start.uboot", "walt's"),
		imagetest.Symlink("boot/rpi-3-b/kernel", "../kernel7.img"), imagetest.Regular("boot/rpi-3-b/kernel.extension", "-v7+\n"), imagetest.Symlink("boot/rpi-3-b/start.uboot", "../start.uboot"),
		imagetest.Regular("boot/rpi-3-b/dtb", "tree of a 3"),
		imagetest.Symlink("boot/rpi-b/kernel", "../kernel.img"), imagetest.Regular("boot/rpi-b/kernel.extension", "+\n"),
	)
	f.Add("walt", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t, all...)}, "walt.node.models", "rpi-b,rpi-3-b", images.BootArgsLabel, "quiet splash"))
	f.Choose("one", "walt")
	devices := known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node}}
	hosts, ask := f.serves(nil, segment, devices)
	files := hosts.(tftp.Files)
	if h, ok := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC, Class: "walt.node.rpi-3-b"}); !ok || h.Loader != "" || devices[one.MAC].Model != "rpi-3-b" {
		t.Errorf("it gets %+v, %v, and is %q", h, ok, devices[one.MAC].Model)
	}
	if _, err := readFile(files, one.IP, "fit-start.uboot"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it gets a FIT image: %v", err)
	}
	d := devices[one.MAC]
	d.Own = &nodes.Settings{BootArgs: "loglevel=7"}
	devices[one.MAC] = d
	for _, c := range []struct{ model, name, kernel, tree string }{
		{"rpi-3-b", "start.uboot", boottest.KernelARM, "tree of a 3"}, {"rpi-b", "boot/rpi-b.uboot", boottest.KernelARM + "old", ""}, {"rpi-3-b", "http", boottest.KernelARM, "tree of a 3"},
	} {
		d.Model = images.Model(c.model)
		devices[one.MAC] = d
		var image string
		if c.name == "http" {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/boot/start.uboot", nil)
			r.RemoteAddr = "127.0.0.2:1000"
			ask(w, r)
			image = w.Body.String()
		} else {
			var err error
			if image, err = readFile(files, one.IP, c.name); err != nil {
				t.Fatal(err)
			}
		}
		script := unscript(t, image)
		_, token, _ := strings.Cut(script, "/boot/")
		token, _, _ = strings.Cut(token, " ")
		for _, want := range []string{" quiet splash loglevel=7 smsc95xx.macaddr=52:54:00:00:00:01'\n", "setenv kernel_addr_r 0x00080000\n", "bootz ", "tftpboot ${scriptaddr} start.uboot;"} {
			if !strings.Contains(script, want) {
				t.Errorf("%+v: it is to do %q, want %q there", c, script, want)
			}
		}
		if got, err := readFile(files, one.IP, "walt/"+token+"/kernel"); got != c.kernel {
			t.Errorf("%+v: its kernel is %q, %v", c, got, err)
		}
		if got, err := readFile(files, one.IP, "walt/"+token+"/dtb/"); got != c.tree {
			t.Errorf("%+v: its device tree is %q, %v", c, got, err)
		}
		if o := f.Knows("walt", d); o.Why != "" || o.Kernel != map[string]string{"rpi-b": "6.1+", "rpi-3-b": "6.1-v7+"}[c.model] {
			t.Errorf("%+v: known is %+v", c, o)
		}
	}
	for _, name := range []string{"start.ipxe", "boot/pc-x86-64.ipxe"} {
		if got, err := readFile(files, one.IP, name); !strings.HasPrefix(got, "#!ipxe\nchain --replace --autofree http://127.0.0.1:80/ipxe ||\n:walt\n") {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	f.Add("odd", imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t, all...)}, "walt.node.models", "rpi-3-b", images.BootArgsLabel, "quiet; reset"))
	if o := f.Knows("odd", d); o.Why != `its label walt.boot.args has invalid words for the kernel: ";" cannot be among them` {
		t.Errorf("known is %q", o.Why)
	}
}
