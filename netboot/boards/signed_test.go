package boards_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/images/imagetest"
	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/netboottest"
	"walt/netboot/tftp"
	"walt/nodes"
)

// contentOf is all of a file.
func contentOf(t *testing.T, f tftp.File) string {
	t.Helper()
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A PC that takes iPXE and is not heard of gets the shim and GRUB of its image then, or of
// the directory of loaders, to the byte; GRUB boots its node, or waits.
func TestSigned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Add("signed", netboottest.Bootable(t, "signed",
		imagetest.Regular("usr/lib/shim/shimx64.efi.signed", "shim of the image"), imagetest.Regular("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grub of the image")))
	f.Add("half", netboottest.Bootable(t, "half", imagetest.Regular("usr/lib/shim/shimx64.efi.signed", "shim of half an image")))
	f.Choose("one", "signed")
	on := segment
	on.Loaders = t.TempDir()
	put := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(on.Loaders, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("snponly.efi")
	put("ipxe.efi")
	devices := known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64", Image: f.Images["signed"].Ref}}
	change := func(by func(*nodes.Device)) {
		d := devices[one.MAC]
		by(&d)
		devices[one.MAC] = d
	}
	hosts, _ := f.serves(nil, on, devices)
	files := boards.Told(hosts)
	loads := func(arch uint16) string {
		h, _ := hosts.Host(t.Context(), dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch", Arch: []uint16{arch}})
		return h.Loader
	}
	takes := func(want string) {
		t.Helper()
		if got := loads(7); got != want {
			t.Errorf("it loads %q, want %q", got, want)
		}
		file, err := files.Open(one.IP, want)
		if err != nil {
			t.Fatal(err)
		}
		file.Sent(file.Size, time.Second)
		file.Close()
	}
	asks := func(name string) string {
		t.Helper()
		file, err := files.Open(one.IP, name)
		if err != nil {
			t.Fatal(err)
		}
		return contentOf(t, file)
	}
	takes("snponly.efi")
	takes("snponly.efi")
	if got := loads(0); got != "ipxe.pxe" { // what is signed is nothing for a BIOS
		t.Errorf("a BIOS loads %q", got)
	}
	for _, want := range []string{"shimx64.efi", "shimx64.efi", "ipxe.efi", "ipxe.efi", "snponly.efi", "snponly.efi", "shimx64.efi"} {
		takes(want)
	}
	if asks("walt.grub"); !slices.Contains(f.Steps(), "one chained") {
		t.Errorf("GRUB was not heard of: %q", f.Steps())
	}
	for range 3 { // it serves
		takes("shimx64.efi")
		asks("walt.grub")
	}

	for _, c := range []struct {
		image, shim, grub string
		put               []string
	}{
		{"signed", "shim of the image", "grub of the image", nil},
		{"half", "", "", nil},
		{"half", "shimx64.efi", "grubx64.efi", []string{"shimx64.efi", "grubx64.efi"}},
		{"signed", "shim of the image", "grub of the image", nil},
	} {
		for _, name := range c.put {
			put(name)
		}
		change(func(d *nodes.Device) { d.Image, d.Own = f.Images[c.image].Ref, &nodes.Settings{Loader: nodes.Signed} })
		for name, want := range map[string]string{"shimx64.efi": c.shim, "/grubx64.efi": c.grub} {
			file, err := files.Open(one.IP, name)
			if err != nil {
				if want != "" || !strings.Contains(err.Error(), "neither its image nor [network] loaders has what Secure Boot starts") {
					t.Errorf("%s of %s: %v, want %q", name, c.image, err, want)
				}
				continue
			}
			if got := contentOf(t, file); got != want {
				t.Errorf("%s of %s is %q, want %q", name, c.image, got, want)
			}
		}
	}
	if got := loads(7) + " " + loads(0); got != "shimx64.efi undionly.kpxe" {
		t.Errorf("set to what is signed, it loads %s", got)
	}

	const begins = "set walt_ask=walt.grub\nwhile true; do\n\tif source (tftp,127.0.0.1)/${walt_ask}; then true; else sleep 5; fi\ndone\n"
	if got := asks("/grub/grub.cfg"); got != begins {
		t.Errorf("GRUB is configured with %q", got)
	}
	script := asks("/walt.grub")
	_, token, _ := strings.Cut(script, "/walt/")
	token, _, _ = strings.Cut(token, "/")
	want := "set walt_ask=walt.grub.failed\necho 'walt: one boots over the network'\n" +
		"if linux (tftp,127.0.0.1)/walt/TOKEN/kernel 'console=ttyS0,115200' 'console=tty0' 'panic=10' 'walt.mac=52:54:00:00:00:01' 'walt.ip=127.0.0.2/24' 'walt.gw=127.0.0.3' 'walt.boot=http://127.0.0.1:80/boot/TOKEN'; then\n" +
		"\tif initrd (tftp,127.0.0.1)/walt/TOKEN/initrd; then boot; fi\nfi\n"
	if token == "" || strings.ReplaceAll(script, token, "TOKEN") != want {
		t.Errorf("GRUB is to do %q, want %q", script, want)
	}
	if got := asks("/walt/" + token + "/kernel"); !strings.Contains(got, "HdrS") {
		t.Errorf("its kernel is %.20q", got)
	}
	const refuses = "set walt_ask=walt.grub\necho 'walt: its loader did not start its kernel: Secure Boot; it asks again every 30 s'\nsleep 30\n"
	if got := asks("walt.grub.failed"); got != refuses {
		t.Errorf("GRUB that failed is to do %q, want %q", got, refuses)
	}
	f.Hears("one failed: its loader did not start its kernel: Secure Boot?")
	change(func(d *nodes.Device) { d.Kind = nodes.Unknown })
	if got, want := asks("walt.grub"), "set walt_ask=walt.grub\necho 'walt: the default image of pc-x86-64 is not here yet; it asks again every 5 s'\nsleep 5\n"; got != want {
		t.Errorf("GRUB that waits is to do %q, want %q", got, want)
	}
}
