package initrd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"walt/netboot/boottest"
)

// arm64 is a kernel image for arm64.
var arm64 = strings.Repeat("\x00", 0x38) + "ARM\x64" + strings.Repeat("\x00", 64)

func tree(files map[string]string) fstest.MapFS {
	t := fstest.MapFS{}
	for name, content := range files {
		t[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	return t
}

// elf64 is a module that names firmware.
func elf64(firmware ...string) string {
	info := "license=GPL\x00"
	for _, name := range firmware {
		info += "firmware=" + name + "\x00"
	}
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	le := binary.LittleEndian
	put := func(v any) { binary.Write(&b, le, v) }
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put([]uint16{1, 62})
	put(uint32(1))
	put([]uint64{0, 0, uint64(64 + len(info) + len(names))})
	put(uint32(0))
	put([]uint16{64, 0, 0, 64, 3, 2})
	b.WriteString(info + names)
	put(make([]uint64, 8))
	section := func(name, kind uint32, off, size int) {
		put([]uint32{name, kind})
		put([]uint64{0, 0, uint64(off), uint64(size)})
		put([]uint32{0, 0})
		put([]uint64{1, 0})
	}
	section(1, 1, 64, len(info))
	section(10, 3, 64+len(info), len(names))
	return b.String()
}

func zipped(t testing.TB, make func(io.Writer) (io.WriteCloser, error), content string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := make(&b)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asXZ(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }

func asZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

func asGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

// image is one whose modules and firmware are compressed in all ways.
func image(t testing.TB) map[string]string {
	dir := "lib/modules/6.6.30-0-lts/"
	return map[string]string{
		"boot/vmlinuz-lts":      boottest.Header("6.6.30-0-lts"),
		dir + "modules.builtin": "kernel/fs/overlayfs/overlay.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
		dir + "modules.dep": "kernel/fs/nfs/nfs.ko.xz: kernel/net/sunrpc/sunrpc.ko.zst\n" +
			"kernel/net/sunrpc/sunrpc.ko.zst:\n" +
			"kernel/fs/nfs/nfsv3.ko.gz: kernel/fs/nfs/nfs.ko.xz kernel/net/sunrpc/sunrpc.ko.zst\n" +
			"kernel/drivers/net/virtio-net.ko: kernel/net/core/failover.ko\n" +
			"kernel/net/core/failover.ko:\n" +
			"kernel/drivers/net/ethernet/realtek/r8169.ko.xz: kernel/lib/loop.ko\n" +
			"kernel/lib/loop.ko: kernel/drivers/net/ethernet/realtek/r8169.ko.xz\n" +
			"kernel/crypto/crc32c_generic.ko:\n" +
			"kernel/drivers/gpu/large.ko:\n",
		dir + "modules.alias": "# a comment\nalias pci:v000010ECd00008168* r8169\nalias virtio:d00000001v* virtio_net\n" +
			"alias crypto-crc32c crc32c_generic\nalias pci:v1* large\nalias broken\n",
		dir + "modules.softdep":                      "softdep sunrpc pre: crypto-crc32c\nsoftdep large pre: nothing\n",
		dir + "kernel/fs/nfs/nfs.ko.xz":              zipped(t, asXZ, "nfs"),
		dir + "kernel/net/sunrpc/sunrpc.ko.zst":      zipped(t, asZstd, "sunrpc"),
		dir + "kernel/fs/nfs/nfsv3.ko.gz":            zipped(t, asGzip, "nfsv3"),
		dir + "kernel/drivers/net/virtio-net.ko":     "virtio",
		dir + "kernel/net/core/failover.ko":          "failover",
		dir + "kernel/lib/loop.ko":                   "loop",
		dir + "kernel/crypto/crc32c_generic.ko":      "crc32c",
		dir + "kernel/drivers/gpu/large.ko":          "not for a network",
		"lib/firmware/rtl_nic/a.fw":                  "a",
		"lib/firmware/rtl_nic/b.fw.xz":               zipped(t, asXZ, "b"),
		"lib/firmware/6.6.30-0-lts/rtl_nic/c.fw.zst": zipped(t, asZstd, "c"),
		"lib/firmware/rtl_nic/c.fw":                  "that of another kernel",
		"lib/firmware/rtl_nic/huge.fw":               strings.Repeat("x", firmwareLimit+1),
		dir + "kernel/drivers/net/ethernet/realtek/r8169.ko.xz": zipped(t, asXZ, elf64("rtl_nic/a.fw", "rtl_nic/b.fw", "rtl_nic/c.fw",
			"rtl_nic/none.fw", "rtl_nic/huge.fw", "../../etc/shadow")),
	}
}

func TestInitramfsHasWhatANetworkNeeds(t *testing.T) {
	p, err := Inspect([]string{"amd64"}, "", tree(image(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Kernel != "boot/vmlinuz-lts" || p.Version != "6.6.30-0-lts" || p.borrowed {
		t.Errorf("plan %+v", p)
	}
	if got := p.Lacks(append(append(Always, NFSRoot...), Virtio...)...); len(got) > 0 {
		t.Errorf("it lacks %v", got)
	}
	var b bytes.Buffer
	missing, err := p.Build(t.Context(), &b, []byte("our init"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b) // nothing says that this kernel knows zstd
	if err != nil {
		t.Fatal(err)
	}
	files := uncpio(t, z)
	dir := "lib/modules/6.6.30-0-lts/"
	want := map[string]string{
		"init": "our init", "dev/console": "", "dev/null": "", "sbin/modprobe": "/init",
		dir + "kernel/fs/nfs/nfs.ko": "nfs", dir + "kernel/fs/nfs/nfsv3.ko": "nfsv3", dir + "kernel/net/sunrpc/sunrpc.ko": "sunrpc",
		dir + "kernel/drivers/net/virtio-net.ko": "virtio", dir + "kernel/net/core/failover.ko": "failover",
		dir + "kernel/crypto/crc32c_generic.ko": "crc32c", dir + "kernel/lib/loop.ko": "loop",
		"lib/firmware/rtl_nic/a.fw": "a", "lib/firmware/rtl_nic/b.fw": "b", "lib/firmware/rtl_nic/c.fw": "c",
		dir + "modules.alias":   "alias pci:v000010ECd00008168* r8169\nalias virtio:d00000001v* virtio_net\nalias crypto-crc32c crc32c_generic\n",
		dir + "modules.softdep": "softdep sunrpc pre: crypto-crc32c\n",
	}
	for name, content := range want {
		if got, ok := files[name]; !ok || got != content {
			t.Errorf("%s is %q, %v", name, got, ok)
		}
	}
	for name := range files {
		if _, ok := want[name]; !ok && name != dir+"modules.dep" && name != dir+"kernel/drivers/net/ethernet/realtek/r8169.ko" {
			t.Errorf("%s is there", name)
		}
	}
	if dep := files[dir+"modules.dep"]; !strings.Contains(dep, "kernel/fs/nfs/nfs.ko: kernel/net/sunrpc/sunrpc.ko\n") {
		t.Errorf("modules.dep: %s", dep)
	}
	wantMissing := []Missing{{"r8169", "../../etc/shadow", false}, {"r8169", "rtl_nic/huge.fw", true}, {"r8169", "rtl_nic/none.fw", false}}
	if !slices.Equal(missing, wantMissing) {
		t.Errorf("missing %v", missing)
	}
}

func TestSameImageMakesTheSameBytes(t *testing.T) {
	var two [2]bytes.Buffer
	for i := range two {
		files := image(t)
		files["boot/config-6.6.30-0-lts"] = "CONFIG_RD_ZSTD=y\nCONFIG_DEVTMPFS=y\n# CONFIG_BLK_DEV_INITRD is not set\n"
		p, err := Inspect([]string{"amd64"}, "", tree(files), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Lacks(Always...); !slices.Equal(got, []string{"initrd"}) {
			t.Errorf("it lacks %v", got)
		}
		if _, err := p.Build(t.Context(), &two[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(two[0].Bytes(), two[1].Bytes()) {
		t.Error("they differ")
	}
	if z, err := zstd.NewReader(&two[0]); err != nil || len(uncpio(t, z)) == 0 {
		t.Errorf("no zstd: %v", err)
	}
}

func TestKernelIsFound(t *testing.T) {
	const dep = "/modules.dep"
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	io.WriteString(z, arm64+strings.Repeat("more of it", headSize))
	z.Close()
	for _, test := range []struct {
		what, arch      string
		files           map[string]string
		kernel, version string
		err             string
	}{
		{"the newest with modules", "amd64", map[string]string{
			"boot/vmlinuz-6.1.0-9-amd64": boottest.Header("6.1.0-9-amd64"), "lib/modules/6.1.0-9-amd64" + dep: "",
			"boot/vmlinuz-6.1.0-10-amd64": boottest.Header("6.1.0-10-amd64"), "lib/modules/6.1.0-10-amd64" + dep: "",
			"boot/vmlinuz-6.2.0-1-amd64": boottest.Header("6.2.0-1-amd64"), "boot/vmlinuz-6.1.0-10-amd64.old": "x",
		}, "boot/vmlinuz-6.1.0-10-amd64", "6.1.0-10-amd64", ""},
		{"a release, not its candidate", "amd64", map[string]string{
			"boot/vmlinuz-6.1.0-rc3": boottest.Header("6.1.0-rc3"), "lib/modules/6.1.0-rc3" + dep: "",
			"boot/vmlinuz-6.1.0": boottest.Header("6.1.0"), "lib/modules/6.1.0" + dep: "",
		}, "boot/vmlinuz-6.1.0", "6.1.0", ""},
		{"beside its modules", "amd64", map[string]string{
			"usr/lib/modules/6.8.9-300.fc40" + dep: "", "usr/lib/modules/6.8.9-300.fc40/vmlinuz": boottest.Header("6.8.9-300.fc40"),
		}, "usr/lib/modules/6.8.9-300.fc40/vmlinuz", "6.8.9-300.fc40", ""},
		{"without a version", "amd64", map[string]string{"boot/vmlinuz": boottest.Header("5.4.1"), "lib/modules/5.4.1" + dep: ""}, "boot/vmlinuz", "5.4.1", ""},
		{"with modules of others", "amd64", map[string]string{"boot/vmlinuz": boottest.Header("5.4.1"), "lib/modules/5.4.2" + dep: ""}, "boot/vmlinuz", "5.4.1", ""},
		{"compressed for arm64", "arm64", map[string]string{"boot/vmlinuz-6.8.0-31-generic": squeezed.String(), "lib/modules/6.8.0-31-generic" + dep: ""}, "boot/vmlinuz-6.8.0-31-generic", "6.8.0-31-generic", ""},
		{"of another architecture", "amd64", map[string]string{"boot/vmlinuz-6.8.0": arm64, "lib/modules/6.8.0" + dep: ""}, "", "", "the kernel /boot/vmlinuz-6.8.0 is for arm64, not for amd64"},
		{"no kernel", "amd64", map[string]string{"boot/vmlinuz-6.8.0": "MZ and nothing", "lib/modules/6.8.0" + dep: ""}, "", "", "/boot/vmlinuz-6.8.0 is no kernel for amd64"},
		{"none", "amd64", map[string]string{"bin/sh": "", "boot/grub/grub.cfg": ""}, "", "", "it has no kernel"},
		{"boot is a file", "amd64", map[string]string{"boot": "", "lib": ""}, "", "", "it has no kernel"},
		{"modules that nobody indexed", "amd64", map[string]string{"boot/vmlinuz-5.4.1": boottest.Header("5.4.1"), "lib/modules/5.4.1/kernel/a.ko": ""}, "", "", "/lib/modules/5.4.1 has no modules.dep; depmod makes it"},
	} {
		p, err := Inspect([]string{test.arch}, "", tree(test.files), nil)
		switch {
		case err != nil && err.Error() != test.err, err == nil && test.err != "":
			t.Errorf("%s: %v", test.what, err)
		case err == nil && (p.Kernel != test.kernel || p.Version != test.version):
			t.Errorf("%s: %s of %s", test.what, p.Kernel, p.Version)
		}
	}
}

func TestKernelIsBorrowed(t *testing.T) {
	bare := tree(map[string]string{"bin/sh": "sh", "lib/firmware/rtl_nic/none.fw": "the image's own"})
	p, err := Inspect([]string{"amd64"}, "", bare, tree(image(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !p.borrowed || p.Kernel != "boot/vmlinuz-lts" {
		t.Errorf("plan %+v", p)
	}
	missing, err := p.Build(t.Context(), io.Discard, nil)
	if err != nil || slices.ContainsFunc(missing, func(m Missing) bool { return m.File == "rtl_nic/none.fw" }) {
		t.Errorf("missing %v, %v", missing, err)
	}
	if _, err := Inspect([]string{"amd64"}, "", bare, bare); !errors.Is(err, ErrNoKernel) {
		t.Errorf("a lender without a kernel: %v", err)
	}
	other := tree(map[string]string{"boot/vmlinuz-1": arm64})
	if _, err := Inspect([]string{"amd64"}, "", other, tree(image(t))); err == nil || errors.Is(err, ErrNoKernel) {
		t.Errorf("an image of another architecture: %v", err)
	}
}

func TestLackingModulesAreNamed(t *testing.T) {
	files := image(t)
	name := "lib/modules/6.6.30-0-lts/modules.dep"
	files[name] = strings.ReplaceAll(files[name], "kernel/fs/nfs/nfsv3.ko.gz", "kernel/fs/nfs/other.ko.gz")
	files["lib/modules/6.6.30-0-lts/modules.builtin"] = ""
	p, err := Inspect([]string{"amd64"}, "", tree(files), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Lacks(NFSRoot...); !slices.Equal(got, []string{"nfsv3", "overlay"}) {
		t.Errorf("it lacks %v", got)
	}
	if got := p.Lacks(Virtio...); !slices.Equal(got, []string{"virtio_pci"}) {
		t.Errorf("it lacks %v", got)
	}
}

func TestDamagedModuleIsAnError(t *testing.T) {
	for file, content := range map[string]string{
		"kernel/fs/nfs/nfs.ko.xz":         "no xz",
		"kernel/fs/nfs/nfsv3.ko.gz":       zipped(t, asGzip, "half of it")[:15],
		"kernel/net/sunrpc/sunrpc.ko.zst": zipped(t, asZstd, strings.Repeat("x", moduleLimit+1)),
	} {
		files := image(t)
		files["lib/modules/6.6.30-0-lts/"+file] = content
		p, err := Inspect([]string{"amd64"}, "", tree(files), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Build(t.Context(), io.Discard, nil); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
	files := image(t)
	delete(files, "lib/modules/6.6.30-0-lts/kernel/lib/loop.ko")
	p, err := Inspect([]string{"amd64"}, "", tree(files), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Build(t.Context(), io.Discard, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a module that is not there: %v", err)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"", "4.9", "4.19", "5.10.0-rc1", "5.10.0-rc12", "5.10.0", "5.10.0-9", "5.10.0-10", "5.10.00-11", "v6"}
	if !slices.IsSortedFunc(ordered, compareVersions) {
		t.Error("they are not in order")
	}
	slices.Reverse(ordered)
	slices.SortFunc(ordered, compareVersions)
	if !slices.IsSortedFunc(ordered, compareVersions) || ordered[1] != "4.9" {
		t.Errorf("sorted: %q", ordered)
	}
}

// uncpio reads the regular files and devices of an archive, and checks its form.
func uncpio(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	files, dirs := map[string]string{}, map[string]bool{".": true}
	for {
		if len(b) < 110 || string(b[:6]) != "070701" {
			t.Fatalf("no header after %v", slices.Sorted(maps.Keys(files)))
		}
		field := func(i int) int {
			v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(v)
		}
		mode, size, named := field(1), field(6), field(11)
		name := string(b[110 : 110+named-1])
		start := (110 + named + 3) &^ 3
		if name == "TRAILER!!!" {
			return files
		}
		if up, _ := splitLast(name); !dirs[up] {
			t.Errorf("%s is before its directory", name)
		}
		if mode&0o170000 == typeDir {
			dirs[name] = true
		} else {
			files[name] = string(b[start : start+size])
		}
		b = b[(start+size+3)&^3:]
	}
}

func splitLast(name string) (dir, base string) {
	if i := strings.LastIndex(name, "/"); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}
