package initrd

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// zboot is a kernel for arm64 in the form that only UEFI knows.
func zboot(kind, payload string) string {
	b := make([]byte, 0x80)
	copy(b, "MZ\x00\x00zimg")
	le := binary.LittleEndian
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(len(payload)))
	copy(b[0x18:], kind)
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00\x64\xaa")
	return string(b) + payload + "what the stub has behind it"
}

// Kernels that a loader may not be able to uncompress are written uncompressed, whatever
// they are called; others as they are.
func TestKernelsAreWrittenPlain(t *testing.T) {
	t.Parallel()
	zipped := func(make func(io.Writer) (io.WriteCloser, error)) string { return zipped(t, make, arm64) }
	for what, c := range map[string]struct{ kernel, want string }{
		"plain":         {arm64, arm64},
		"gzip":          {zipped(asGzip), arm64},
		"gzip, tail":    {zipped(asGzip) + "more", arm64},
		"zboot, gzip":   {zboot("gzip", zipped(asGzip)), arm64},
		"zboot, zstd":   {zboot("zstd", zipped(asZstd)), arm64},
		"zboot, lz4":    {zboot("lz4", "packed"), zboot("lz4", "packed")},
		"zImage":        {strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01 \x1f\x8b", strings.Repeat("\x00", 0x24) + "\x18\x28\x6f\x01 \x1f\x8b"},
		"gzip, broken":  {zipped(asGzip)[:20], ""},
		"zboot, short":  {zboot("gzip", zipped(asGzip))[:0x90], ""},
		"gzip of a lot": {zippedZeros(t, kernelLimit+1), ""},
	} {
		p := &Plan{Kernel: "boot/vmlinuz", Tree: tree(map[string]string{"boot/vmlinuz": c.kernel})}
		var out strings.Builder
		err := p.WriteKernel(&out)
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "/boot/vmlinuz: ") {
				t.Errorf("%s: %v", what, err)
			}
		} else if err != nil || out.String() != c.want {
			t.Errorf("%s: %d bytes, want %d, %v", what, out.Len(), len(c.want), err)
		}
	}
}

// zippedZeros is a gzip file of n bytes that are 0, with what tells that it is a kernel.
func zippedZeros(t *testing.T, n int64) string {
	t.Helper()
	var b strings.Builder
	z, err := asGzip(&b)
	if err == nil {
		_, err = io.WriteString(z, arm64)
	}
	for zeros := make([]byte, 1<<20); n > 0 && err == nil; n -= int64(len(zeros)) {
		_, err = z.Write(zeros)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A board gets the device tree of its model, or the one that it asks for, from wherever
// distributions have them, and nothing else of the image.
func TestDeviceTrees(t *testing.T) {
	t.Parallel()
	files := tree(map[string]string{
		"boot/rpi-3-b/dtb": "walt's", "boot/one/only.dtb": "only", "boot/one/kernel": "kernel", "boot/two/a.dtb": "a", "boot/two/b.dtb": "b",
		"boot/name": "file", "etc/shadow.dtb": "secret",
		"boot/dtbs/am335x.dtb": "old", "usr/lib/linux-image-6.1-lts/rockchip/rk.dtb": "debian", "boot/dtbs-lts/x.dtb": "alpine",
		"lib/modules/6.1-lts/dtb/allwinner/a64.dtb": "fedora", "lib/firmware/6.1-lts/device-tree/q/u.dtb": "ubuntu",
	})
	files["boot/big/dtb"] = &fstest.MapFile{Data: make([]byte, deviceTreeLimit+1)}
	p := &Plan{Version: "6.1-lts", Tree: files}
	for _, c := range []struct{ model, asked, want string }{
		{"rpi-3-b", "", "walt's"},
		{"rpi-3-b", "broadcom/bcm2837.dtb", "walt's"},
		{"one", "", "only"},
		{"one", "x/only.dtb", "only"},
		{"two", "", ""},
		{"two", "b.dtb", "b"},
		{"two", "x/a.dtb", "a"},
		{"name", "", ""},
		{"none", "", ""},
		{"", "", ""},
		{"", "am335x.dtb", "old"},
		{"", "rockchip/rk.dtb", "debian"},
		{"none", "rockchip/rk.dtb", "debian"},
		{"", "x.dtb", "alpine"},
		{"", "allwinner/a64.dtb", "fedora"},
		{"", "q/u.dtb", "ubuntu"},
		{"", "../../etc/shadow.dtb", ""},
		{"one", "kernel", "only"},
		{"one", "../one/only.dtb", "only"},
		{"big", "", ""},
	} {
		got, err := p.DeviceTree(c.model, c.asked)
		if string(got) != c.want || (c.want == "" && c.model != "big" && !errors.Is(err, fs.ErrNotExist)) || c.model == "big" && err == nil {
			t.Errorf("%q, %q: %.20q, %v, want %q", c.model, c.asked, got, err, c.want)
		}
	}
	if !p.HasDeviceTrees("") || !(&Plan{Version: "5", Tree: files}).HasDeviceTrees("one") || (&Plan{Version: "5", Tree: fstest.MapFS{}}).HasDeviceTrees("one") {
		t.Error("whether there are some is told wrongly")
	}
}
