package initrd

import (
	"strings"
	"testing"
	"testing/fstest"

	"walt/netboot/boottest"
)

// Whatever the files of an image say, they are read in bounded time and memory, what is
// picked is there, and nothing is picked twice.
func FuzzModules(f *testing.F) {
	files := image(f)
	dir := "lib/modules/6.6.30-0-lts/"
	f.Add(files[dir+"modules.dep"], files[dir+"modules.builtin"], files[dir+"modules.alias"], files[dir+"modules.softdep"])
	f.Add("drivers/net/ethernet/a.ko: drivers/net/ethernet/a.ko b.ko\nb.ko: a.ko b.ko\n../c.ko:\n/d.ko:\n.ko:\n", "", "alias a a\nalias a b c\n", "softdep a pre: a b\nsoftdep b pre: a\nsoftdep b\n")
	f.Fuzz(func(t *testing.T, dep, builtin, alias, soft string) {
		m := parseModules("lib/modules/1", dep, builtin, alias, soft)
		for _, arch := range []string{"amd64", "arm"} {
			seen := map[string]bool{}
			picked := m.pick(arch)
			for _, one := range picked {
				if seen[one.file] || !strings.Contains(dep, one.file) || strings.HasPrefix(one.file, "/") || strings.Contains("/"+one.file+"/", "/../") {
					t.Errorf("picked %q", one.file)
				}
				seen[one.file] = true
			}
			m.texts(picked)
		}
	})
}

func FuzzUncompress(f *testing.F) {
	for _, content := range []string{"", "content", strings.Repeat("content", 1000)} {
		f.Add([]byte(zipped(f, asXZ, content)))
		f.Add([]byte(zipped(f, asZstd, content)))
		f.Add([]byte(zipped(f, asGzip, content)))
	}
	const limit = 64 << 10
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"a.xz", "a.zst", "a.gz"} {
			if got, err := uncompress(b, name, limit); err == nil && len(got) > limit {
				t.Errorf("%s: %d bytes", name, len(got))
			}
		}
	})
}

func FuzzKernel(f *testing.F) {
	f.Add([]byte(boottest.Header("6.1.0")))
	f.Add([]byte(arm64))
	f.Add([]byte(zipped(f, asGzip, arm64)))
	f.Add([]byte(elf64("a")))
	f.Add([]byte("MZ\x00\x00zimg" + strings.Repeat("\x00", 0x34) + "\x40\x00\x00\x00PE\x00\x00\x64\xaa"))
	f.Add([]byte("\x27\x05\x19\x56" + strings.Repeat("\x02", 60)))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := readHead(fstest.MapFS{"k": {Data: b}}, "k")
		if err != nil || len(head) > headSize {
			t.Fatalf("%d bytes, %v", len(head), err)
		}
		arch, version := identify(head)
		if len(version) > 256 || version != "" && arch != "amd64" && arch != "386" {
			t.Errorf("%s %q", arch, version)
		}
	})
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte(elf64("rtl_nic/a.fw", "b")))
	f.Add([]byte(elf64()))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &Plan{firmware: nil}
		named := map[string]string{}
		for _, name := range firmwareNames(b) {
			named[name] = "driver"
		}
		if found, missing := p.findFirmware(named); len(found) > 0 || len(missing) > firmwareNameLimit {
			t.Errorf("%d found, %d missing", len(found), len(missing))
		}
	})
}
