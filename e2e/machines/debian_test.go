package machines

import (
	"archive/tar"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"walt/images/imagetest"
	"walt/netboot/boottest"
)

// debianLayers are a Debian with these packages, and a kernel.
func debianLayers(t *testing.T, packages ...string) []v1.Layer {
	t.Helper()
	b, err := os.ReadFile(boottest.Debian(t, packages...))
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Layer{plain(b), kernelLayer(t, "--transform", "s,^lib,usr/lib,")} // /lib is a link there
}

// filesLayer has files by path, which may be run; one whose content begins with "-> " is
// a symbolic link.
func filesLayer(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	var entries []*tar.Header
	for name, content := range files {
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			entries = append(entries, imagetest.Symlink(name, target))
			continue
		}
		h := imagetest.Regular(name, content)
		h.Mode = 0o755
		entries = append(entries, h)
	}
	return plain(imagetest.Archive(t, entries...))
}

// with are layers with one more, of files as filesLayer has them.
func with(t *testing.T, layers []v1.Layer, files map[string]string) []v1.Layer {
	t.Helper()
	return append(slices.Clip(layers), filesLayer(t, files))
}

// patient are the settings of a machine that starts as much as a whole Debian does.
var patient = []string{"boot.timeout=900"}

const masked = "-> /dev/null" // a unit of systemd that is not to be started

// systemdIs is what is true of a machine on which systemd has started all.
var systemdIs = map[string]string{
	"cat /proc/1/comm; systemctl is-active ssh":                          "systemd\nactive\n",
	"systemctl is-system-running --wait; systemctl --failed --no-legend": "running\n",
}

// cutShort is why a machine went whose shutdown took too long: one that hangs, or any of a
// large system where the computer is busy.
const cutShort = "its shutdown hung, and was cut short"

// typesReboot types reboot on a machine, and waits until it is up again. One of these is why
// the log says it went.
func (w *world) typesReboot(node string, whys ...string) {
	w.t.Helper()
	before := w.bootID("alice", node)
	went := strings.Count(w.does("alice", "log show --type state"), node+": up -> ")
	if _, err := w.Run("", "alice", "node", "run", node, "reboot"); err != nil {
		w.t.Log("reboot:", err) // the connection may end first
	}
	var log string
	for end := time.Now().Add(boottest.Wait); ; time.Sleep(100 * time.Millisecond) {
		if log = w.does("alice", "log show --type state"); strings.Count(log, node+": up -> ") > went {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("it does not reboot in time: the log says %s", log)
		}
	}
	last := log[strings.LastIndex(log, node+": up -> "):]
	if !slices.ContainsFunc(whys, func(why string) bool { return strings.HasPrefix(last, node+": up -> booting: "+why+"\n") }) {
		w.t.Errorf("it went as the log says, %s, want one of %q", last, whys)
	}
	w.up("alice", node)
	if after := w.bootID("alice", node); after == before {
		w.t.Error("it did not reboot")
	}
}

// The smallest Debian, with systemd and its own SSH server, and services as people write
// them: as soon as a machine is up somebody can work there, whatever host keys it makes
// for itself; a shutdown that one of them holds up is cut short.
func TestDebian(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	const newKeys = "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
	o := odd{"debian", with(t, debianLayers(t, "systemd-sysv", "openssh-server", "kmod"), map[string]string{
		units + "keys.service":                         "[Unit]\nBefore=ssh.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -c \"" + newKeys + "\"\n",
		units + "multi-user.target.wants/keys.service": "-> ../keys.service",
		units + "serial-getty@ttyS0.service":           masked, // without udev it would be waited for
		units + "stubborn.service":                     "[Service]\nExecStart=/bin/sh -c \"trap '' TERM; while :; do sleep 10; done\"\nTimeoutStopSec=infinity\n",
	}), systemdIs}
	w.start(o, patient...)
	w.up("alice", "vm-debian")
	if out := w.does("alice", "node run vm-debian hostname"); out != "vm-debian\n" {
		t.Errorf("it is called %q", out)
	}
	w.check(o)
	for _, protocol := range []string{"udp", "tcp"} {
		w.does("alice", "node run vm-debian logger -n server -P 514 --"+protocol+" -t exp1 by "+protocol)
		w.until("alice", "log show --nodes vm-debian", "vm-debian exp1: by "+protocol)
	}
	w.kernelSays("vm-debian")
	const own = "systemctl is-active keys; cd /etc/ssh; ls | grep _host_; cmp -s ssh_host_ed25519_key walt_ed25519_key || echo another"
	if out := w.does("alice", "node run vm-debian "+own); out != "inactive\nssh_host_ed25519_key\nssh_host_ed25519_key.pub\nanother\n" {
		t.Errorf("its host keys: %s", out)
	}
	w.typesReboot("vm-debian", "rebooted from inside", cutShort)
	w.does("alice", "node run vm-debian systemctl start stubborn")
	w.typesReboot("vm-debian", cutShort)
	w.check(o)
}

// kernelSays has the kernel of a node send what it says, by the lines that the topic tells to
// type, and say something that takes several packets.
func (w *world) kernelSays(node string) {
	w.t.Helper()
	_, typed, _ := strings.Cut(w.does("alice", "help show log"), "A kernel begins to send")
	_, typed, _ = strings.Cut(typed, "\n\n")
	typed, _, _ = strings.Cut(typed, "\n\n")
	if !strings.Contains(typed, "modprobe") {
		w.t.Fatalf("the topic says to type: %s", typed)
	}
	long := strings.Repeat(`\`, 600) // each of them takes four bytes on the wire
	for _, text := range []string{"temperature 21 °C", long} {
		typed += "\necho '<6>" + text + "' >/dev/kmsg"
	}
	if out, err := w.Run(typed, "alice", "node", "run", node, "bash"); err != nil {
		w.t.Fatal(err, out)
	}
	for _, text := range []string{"temperature 21 °C", long} {
		w.until("alice", "log show --nodes "+node+" --streams kernel", node+" kernel: "+text+"\n")
	}
}
