package boottest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Debian is the file of a tar archive of the smallest Debian with these packages, as
// debootstrap and apt make it. It is made once, and kept in the directory for temporary
// files.
func Debian(t testing.TB, packages ...string) string {
	t.Helper()
	packages = slices.Sorted(slices.Values(packages))
	list := strings.Join(packages, " ")
	sum := sha256.Sum256([]byte(list))
	name := filepath.Join(os.TempDir(), fmt.Sprintf("walt-boottest-debian-%x.tar", sum[:8]))
	if _, err := os.Stat(name); err == nil {
		return name
	}
	const script = `set -e
work=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) # in memory nobody waits for a disk
trap 'rm -rf "$work"' EXIT
cd "$work"
if [ ! -f "$3" ]; then
	debootstrap --variant=minbase bookworm tree >log 2>&1 || { cat log; tail -n 20 tree/debootstrap/debootstrap.log; exit 1; }
	tar -C tree --numeric-owner --xattrs --exclude='./dev/*' -cf "$3.$$" .
	mv "$3.$$" "$3"
	rm -r tree
fi
mkdir -p tree/dev
tar -C tree --xattrs -xf "$3"
for d in null:3 zero:5 random:8 urandom:9; do mknod -m 666 "tree/dev/${d%:*}" c 1 "${d#*:}"; done
printf '#!/bin/sh\nexit 101\n' >tree/usr/sbin/policy-rc.d # nothing is to be started here
chmod 755 tree/usr/sbin/policy-rc.d
chroot tree apt-get -qq update
chroot tree apt-get -qq install -y --no-install-recommends $1 >log 2>&1 || { tail -n 30 log; exit 1; }
rm -rf tree/usr/sbin/policy-rc.d tree/var/cache/apt/* tree/var/lib/apt/lists/* tree/usr/share/doc tree/usr/share/man tree/usr/share/locale
tar -C tree --numeric-owner --xattrs --exclude='./dev/*' -cf new .
mv new "$2.$$"
mv "$2.$$" "$2"`
	c := exec.Command("sh", "-c", script, "debian", list, name, filepath.Join(os.TempDir(), "walt-boottest-debian.tar"))
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "DEBIAN_FRONTEND=noninteractive")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("a Debian with %s: %v\n%s", list, err, out)
	}
	return name
}
