package machines

import (
	"archive/tar"
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// bare is the file of an image whose kernel has no modules for a root over NFS.
const bare = "etc/bare"

// withoutNFS is a layer that takes them away from the kernel of boottest.
func withoutNFS(t *testing.T) v1.Layer {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(boottest.SmallKernel(t), "lib/modules/*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	text, err := os.ReadFile(filepath.Join(dirs[0], "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	in := "lib/modules/" + filepath.Base(dirs[0])
	rest := string(text)
	var entries []*tar.Header
	for _, file := range []string{"kernel/fs/nfs/nfs.ko", "kernel/fs/nfs/nfsv3.ko", "kernel/fs/overlayfs/overlay.ko"} {
		at := strings.Index(rest, file+":")
		if at < 0 {
			t.Fatalf("the kernel has no %s", file)
		}
		_, behind, _ := strings.Cut(rest[at:], "\n")
		rest = rest[:at] + behind
		entries = append(entries, imagetest.Regular(in+"/"+filepath.Dir(file)+"/.wh."+filepath.Base(file), ""))
	}
	return imagetest.GzipLayer(t, append(entries, imagetest.Regular(in+"/modules.dep", rest))...)
}

// A machine whose image is in its memory needs neither the server nor its network.
func TestRootInMemory(t *testing.T) {
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{
		"waltplatform/pc-x86-64-default": {"etc/name": "all here\n", bare: "", "big": strings.Repeat("x", 32<<20), "bin/beat": `#!/bin/sh
while :; do
	echo 3 > /proc/sys/vm/drop_caches
	cat /bin/busybox > /dev/null && echo "beat: $(cat /etc/name)"
	sleep 1
done > /dev/ttyS0 2>&1 < /dev/null
`},
	})
	// The kernel has no NFS, so it goes there by itself.
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 hostname; cat /etc/name; grep -c nfs /proc/mounts; grep ' / ' /proc/mounts"); !strings.HasPrefix(out, "vm1\nall here\n0\n") || !strings.Contains(out, "walt-ram / tmpfs") {
		t.Errorf("it is %q", out)
	}

	// It goes on while the server is away, and is up when that comes back.
	before := w.bootID("alice", "vm1")
	w.does("alice", "node run vm1 beat > /dev/null 2>&1 & sleep 1")
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	w.hearsBeats(3)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait vm1")
	if after := w.bootID("alice", "vm1"); after != before {
		t.Error("a restart of the server rebooted the machine")
	}

	// What may be written has an end, at which the machine goes on.
	w.does("alice", "node config vm1 boot.root=ram ram.overlay=8M")
	w.does("alice", "node reboot vm1 --hard")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 head -c 7000000 /dev/zero > /root/a; head -c 3000000 /dev/zero > /root/b; uname"); out != "Linux\n" {
		t.Errorf("when it is full: %q", out)
	}
	if out := w.does("alice", "node run vm1 stat -c %s /root/a /root/b"); !strings.HasPrefix(out, "7000000\n1") || strings.Contains(out, "3000000") {
		t.Errorf("it has room for %q", out)
	}

	// Memory that is too small is told at once, with what it needs.
	w.refuses("alice", "node config vm1 ram=64M", "and the machine has 64 MiB: it would need", "nothing changed")
}

// hearsBeats listens to the serial line of the only machine, which nobody else does.
func (w *world) hearsBeats(n int) {
	w.t.Helper()
	lines, err := filepath.Glob(filepath.Join(w.Data(), "machines", "*", "tty.sock"))
	if err != nil || len(lines) != 1 {
		w.t.Fatal(lines, err)
	}
	c, err := net.Dial("unix", lines[0])
	if err == nil {
		defer c.Close()
		err = c.SetDeadline(time.Now().Add(boottest.Wait))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for in := bufio.NewScanner(c); n > 0; {
		if !in.Scan() {
			w.t.Fatal(errors.Join(errors.New("no beat"), in.Err()))
		}
		if strings.Contains(in.Text(), "beat: all here") {
			n--
		}
	}
}
