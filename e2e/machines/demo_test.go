package machines

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"walt/e2e/lab"
	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// The demo of machines, with two small images: it loads them, boots both, and leaves
// no machine behind.
func TestDemoOfMachines(t *testing.T) {
	boottest.NeedLong(t, "busybox", "ssh")
	dir, err := os.MkdirTemp("", "wd") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	waltd, err := lab.Build(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tiny", "debian"} {
		files := map[string]string{"etc/os-release": "NAME=" + name + "\n"}
		layers := []v1.Layer{static.NewLayer(boottest.Busybox(t, false, files), types.OCIUncompressedLayer), kernelLayer(t)}
		img := imagetest.Image(t, layers, "walt.node.models", "pc-x86-64")
		var all []*tar.Header
		all = append(append(all, imagetest.Blobs(t, img)...), imagetest.Layout(t, imagetest.Described(t, img))...)
		if err := os.WriteFile(filepath.Join(dir, name+".tar"), imagetest.Archive(t, all...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	temp := filepath.Join(dir, "t")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	demo := exec.Command(waltd, "demo", "--once", "--machines", dir)
	demo.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp)
	out, err := demo.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"All are up after ", "Linux vm1 ", "vm1 is configured\n", "NAME=debian\n", "vm1 is free and boots its default image", "All machines are ended."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	running, err := exec.Command("pgrep", "-f", temp).Output()
	if err == nil {
		t.Errorf("machines still run: %s", running)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("there is still %v, %v", left, err)
	}
}
