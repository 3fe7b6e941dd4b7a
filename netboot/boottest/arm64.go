package boottest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ARM64 is a directory with boot/, lib/modules and bin/busybox of Debian for arm64: no more
// than a virtual machine needs. It is downloaded once, and kept in the directory for
// temporary files. Nothing of that is installed.
func ARM64(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "walt-boottest-arm64")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	const script = `set -e
mkdir -p state/lists/partial cache/archives/partial whole tree/boot
apt="-qq -o Dir::State=$PWD/state -o Dir::State::status=/dev/null -o Dir::Cache=$PWD/cache -o APT::Architecture=arm64 -o APT::Architectures=arm64"
apt-get $apt update
kernel=$(apt-cache $apt depends linux-image-cloud-arm64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1)
apt-get $apt download "$kernel" busybox-static
for package in *.deb; do dpkg-deb -x "$package" whole; done
version=${kernel#linux-image-}
depmod -b whole "$version"
cp whole/boot/vmlinuz-* whole/boot/config-* tree/boot/
mkdir -p "tree/lib/modules/$version" tree/bin
for module in overlay nfs nfsv3 virtio_net virtio_pci virtio_mmio virtio_rng af_packet; do
	modprobe -d "$PWD/whole" -S "$version" --show-depends "$module"
done | sed -n "s|^insmod $PWD/whole/||p" | sort -u > wanted
(cd whole && xargs cp --parents -t ../tree) < wanted
cp "whole/lib/modules/$version"/modules.order "whole/lib/modules/$version"/modules.builtin* "tree/lib/modules/$version/"
depmod -b tree "$version"
cp whole/bin/busybox tree/bin/
mv tree "$1.$$" && mv -T "$1.$$" "$1"`
	c := exec.Command("sh", "-c", script, "arm64", dir)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		if _, ok := os.Stat(dir); ok != nil { // another test was not faster
			t.Fatalf("what machines with arm64 boot: %v\n%s", err, out)
		}
	}
	return dir
}
