//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"walt/images/content"
	"walt/images/imagetest"
	"walt/netboot/boottest"
	"walt/netboot/instructions"
	"walt/netboot/nfs"
)

// exports has one image for all who ask.
type exports struct {
	image nfs.ID
	tree  *content.Tree
}

func (e exports) Tree(_ context.Context, _ netip.Addr, image nfs.ID) (*content.Tree, error) {
	if image != e.image {
		return nil, nil
	}
	return e.tree, nil
}

// serveNFS serves an archive as an image, and makes it the root of the machine.
func (b *bench) serveNFS(archive []byte) {
	b.t.Helper()
	store, err := content.Open(imagetest.MemoryDir(b.t), time.Now)
	if err != nil {
		b.t.Fatal(err)
	}
	add := func(blob []byte) content.Digest {
		if err := store.Add(content.Blob{Digest: content.Sum(blob), Size: int64(len(blob))}, bytes.NewReader(blob)); err != nil {
			b.t.Fatal(err)
		}
		return content.Sum(blob)
	}
	d := add(fmt.Appendf(nil, `{"layers":[{"digest":%q,"size":%d}]}`, add(archive), len(archive)))
	tree, err := store.Tree(b.t.Context(), d)
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	server := &nfs.Server{Exports: exports{nfs.IDOf(d), tree}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	go server.Serve(l) // ends with Close
	b.t.Cleanup(func() { server.Close() })
	b.in.Root = instructions.Root{NFS: []instructions.NFS{{Server: b.guestAddr(l.Addr().String()), Path: nfs.Path(d)}}}
}

// overlays is a command that prints in which of the directories an overlay can have its
// layers.
func overlays(dirs ...string) string {
	return "for d in " + strings.Join(dirs, " ") + "; do busybox mkdir -p $d/l $d/u $d/w $d/m; mount -t overlay -o lowerdir=$d/l,upperdir=$d/u,workdir=$d/w o $d/m 2> /dev/null && echo $d; done; true"
}

func TestMachineBootsOverNFS(t *testing.T) {
	t.Parallel()
	boottest.Need(t, "busybox")
	b := newBench(t)
	b.in.Init = "/sbin/init"
	b.in.Volumes = []string{"/data"}
	b.in.Permissive = true
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	b.in.Capabilities = []instructions.Capability{{Path: "/bin/ping", Value: []byte(capability)}}
	b.serveNFS(boottest.Busybox(t, true, map[string]string{
		"data/file": "of the image\n", "var/lib/docker/x": "too\n", "var/lib/containerd/io/x": "and\n", "usr/bin/kubelet": "", "bin/ping": "#!/bin/sh\n",
		"etc/network/interfaces":      "auto lo eth0\nsource more.d/*\n",
		"etc/network/more.d/eth0":     "iface eth0 inet dhcp\n",
		"etc/selinux/config":          "# a comment\nSELINUX=enforcing\n",
		"etc/ssh/ssh_host_rsa_key":    "known to all",
		"etc/ssh/sshd_config":         "HostKey /etc/ssh/ssh_host_ed25519_key\n",
		"root/.ssh/authorized_keys":   "ssh-ed25519 AAAA of the image",
		"etc/init.d/rcS":              "#!/bin/sh\necho started > /started\n",
		"usr/share/zoneinfo/unneeded": "",
	}))
	b.start(256)
	r := b.wait("up", at(instructions.Up))
	if r.Size == 0 || r.Used == 0 || r.Used > r.Size {
		t.Errorf("memory: %d of %d", r.Used, r.Size)
	}
	t.Logf("steps %+v", r.Steps)
	c := b.dial()
	for command, want := range map[string]string{
		"busybox su -s /bin/sh worker -c 'id -u'":                                               "1000\n",
		"grep -E ' (/|/data|/var/[a-z/]*) ' /proc/mounts | grep -v ^o | cut -d' ' -f1-3 | sort": "walt / overlay\nwalt-upper /data tmpfs\nwalt-upper /var/lib/containerd tmpfs\nwalt-upper /var/lib/docker tmpfs\nwalt-upper /var/lib/kubelet tmpfs\n",
		// They have one limit with the root, and nothing else is left of making them.
		"busybox df -k / /data /var/lib/docker | busybox tail -n +2 | busybox awk '{print $2}' | busybox uniq | busybox wc -l; ls -d /.walt* 2> /dev/null; true": "1\n",
		// Overlays, as docker and containerd make them, are refused on the root.
		overlays("/var/lib/docker", "/var/lib/containerd", "/data", "/root"):                                                "/var/lib/docker\n/var/lib/containerd\n/data\n",
		"cat /data/file /var/lib/docker/x /var/lib/containerd/io/x /started; echo written > /etc/written; cat /etc/written": "of the image\ntoo\nand\nstarted\nwritten\n",
		"cat /etc/network/interfaces /etc/network/more.d/eth0 /etc/selinux/config; ls /etc/ssh":                             "auto lo\nsource more.d/*\n# walt: the root comes over it: iface eth0 inet dhcp\n# a comment\nSELINUX=permissive\nssh_host_ed25519_key\nssh_host_ed25519_key.pub\nsshd_config\nwalt_ed25519_key\nwalt_ed25519_key-cert.pub\n",
		"cat /etc/ssh/sshd_config":                                                             "HostKey /etc/ssh/walt_ed25519_key\nHostCertificate /etc/ssh/walt_ed25519_key-cert.pub\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
		"sed -n 4,5p /run/systemd/network/0-walt.link":                                         "[Link]\nNamePolicy=keep\n",
		"cat /run/mount/utab; head -2 /run/systemd/network/0-walt.network":                     "SRC=walt TARGET=/ ROOT=/ OPTS=_netdev\n[Match]\nMACAddress=" + boottest.MAC + "\n",
		"wc -l < /root/.ssh/authorized_keys; stat -c %a /root/.ssh /root/.ssh/authorized_keys": "4\n755\n600\n",
	} {
		if out, err := b.run(c, command); err != nil || out != want {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
	if log := b.machine.Console(); !strings.Contains(log, "SELinux does not enforce") || strings.Contains(log, "capabilities of") {
		t.Error("the log does not tell of SELinux, or tells of capabilities")
	}
	b.run(c, "reboot") // as a user types it; the connection ends with it
	b.gone()
}
