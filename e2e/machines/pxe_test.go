package machines

import (
	"strings"
	"testing"
)

// A machine that has nothing but its network card fetches what it boots. What runs there may
// ask for the address, too, and gets the same.
func TestPXE(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}})
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node config vm1 boot.loader=pxe")
	w.does("alice", "node reboot vm1 --hard")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 hostname; cat /etc/name /proc/cmdline"); !strings.HasPrefix(out, "vm1\ndefault\n") || !strings.Contains(out, "initrd=initrd") {
		t.Errorf("it is %q", out)
	}
	asked := w.does("alice", "node run vm1 busybox udhcpc -f -n -q -i $(ls /sys/class/net | grep -v lo) -s /bin/true 2>&1; ip=$(cat /proc/cmdline); echo ${ip#*walt.ip=}")
	_, lease, _ := strings.Cut(asked, "lease of ")
	lease, _, _ = strings.Cut(lease, " obtained from 10.217.0.1,")
	if !strings.Contains(asked, "\n"+lease+"/20 ") {
		t.Errorf("it is given %q: %s", lease, asked)
	}
}
