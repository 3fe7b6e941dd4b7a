package initrd

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"walt/netboot/boottest"
)

// What an image lacks is known without a build: what needed modules depend on, files
// that are listed and not there, firmware.
func TestWhatIsLackingIsKnownBefore(t *testing.T) {
	const dir = "lib/modules/6.6.30-0-lts/"
	files := image(t)
	files[dir+"modules.dep"] = strings.ReplaceAll(files[dir+"modules.dep"], "kernel/net/sunrpc/sunrpc.ko.zst:\n", "")
	delete(files, dir+"kernel/lib/loop.ko")
	p, err := Inspect([]string{"amd64"}, "", tree(files), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Lacks("nfs", "overlay"); !slices.Equal(got, []string{"sunrpc"}) {
		t.Errorf("it lacks %v", got)
	}
	if got := p.Gone(); !slices.Equal(got, []string{dir + "kernel/lib/loop.ko"}) {
		t.Errorf("not there: %v", got)
	}
	whole, err := Inspect([]string{"amd64"}, "", tree(image(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	built, err := whole.Build(t.Context(), io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := whole.Missing(t.Context())
	if err != nil || !slices.Equal(missing, built) || len(missing) == 0 || len(whole.Gone()) > 0 {
		t.Errorf("missing %v, %v, want %v; not there: %v", missing, err, built, whole.Gone())
	}
}

// An image that cannot boot is told from one that cannot be read.
func TestUnfit(t *testing.T) {
	for err, want := range map[error]bool{
		ErrNoKernel: true, &ArchError{}: true, &IndexError{}: true, syscall.EFBIG: true,
		fs.ErrNotExist: false, syscall.EMFILE: false, errors.New("the disk is broken"): false,
	} {
		if Unfit(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
	_, err := Inspect([]string{"amd64"}, "", tree(map[string]string{"boot/vmlinuz-5.4.1": boottest.Header("5.4.1"), "lib/modules/5.4.1/kernel/a.ko": ""}), nil)
	if !Unfit(err) {
		t.Errorf("modules that nobody indexed: %v", err)
	}
}

// A kernel that is there as a file of any size is refused before anybody copies it.
func TestHugeKernel(t *testing.T) {
	huge := make([]byte, kernelLimit+1)
	copy(huge, boottest.Header("5.4.1"))
	files := tree(map[string]string{"lib/modules/5.4.1/modules.dep": ""})
	files["boot/vmlinuz-5.4.1"] = &fstest.MapFile{Data: huge, Mode: 0o644}
	if _, err := Inspect([]string{"amd64"}, "", files, nil); !Unfit(err) || !strings.Contains(err.Error(), "/boot/vmlinuz-5.4.1: file too large") {
		t.Errorf("got %v", err)
	}
	files["boot/vmlinuz-5.4.1"].Data = huge[:kernelLimit]
	if p, err := Inspect([]string{"amd64"}, "", files, nil); err != nil || p.Kernel != "boot/vmlinuz-5.4.1" {
		t.Errorf("got %+v, %v", p, err)
	}
}
