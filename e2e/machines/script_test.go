package machines

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The script that makes images finds the kernel of an Ubuntu, whose name and packages are
// others, and tells what apt says when it cannot be downloaded.
func TestKernelOfUbuntu(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("the images are those of PCs")
	}
	for fails, want := range map[string]string{"no": "download linux-image-6.8.0-45-generic\ndownload linux-modules-6.8.0-45-generic\n", "yes": "download linux-image-6.8.0-45-generic\n"} {
		dir := t.TempDir()
		for name, script := range map[string]string{
			"apt-cache": `[ "$2" != linux-image-virtual ] || { echo "  Depends: linux-image-6.8.0-45-generic"; exit; }
[ "$1" = show ] || exit 100`,
			"apt-get":  `echo "download $3" >>"` + dir + `/calls"; [ ` + fails + ` = no ] || { echo "E: it is away" >&2; exit 100; }`,
			"dpkg-deb": "exit 9",
			"ssh":      "", "qemu-system-x86_64": "", "busybox": "", "modprobe": "", "mmdebstrap": "", "newuidmap": "",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		make := exec.Command("bash", "../../scripts/machines", filepath.Join(dir, "images"))
		make.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := make.CombinedOutput()
		calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
		if err == nil || string(calls) != want || strings.Contains(string(out), "E: it is away") != (fails == "yes") {
			t.Errorf("%v, %s, asked for %q", err, out, calls)
		}
	}
}
