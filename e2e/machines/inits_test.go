package machines

import (
	"strings"
	"testing"

	"walt/netboot/boottest"
)

// others is a command that says whether the image's own SSH server runs, and systemd.
const others = "; pgrep -o sshd > /dev/null && echo sshd; test -e /run/systemd/system && echo systemd; true"

// A Debian with OpenRC comes up with its own SSH server, and stays up, also when ifupdown
// is told to begin anew; a shutdown that hangs is cut short.
func TestOpenRC(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	g := guest{
		odd{"openrc", with(t, debianLayers(t, "sysvinit-core", "openrc", "openssh-server", "ifupdown", "isc-dhcp-client", "iproute2", "procps"), map[string]string{
			"etc/network/interfaces":         dhcpOnEth0,
			"etc/init.d/stubborn":            "#!/sbin/openrc-run\nstart() {\n\treturn 0\n}\nstop() {\n\tsleep 1000\n}\n",
			"etc/runlevels/default/stubborn": "-> /etc/init.d/stubborn",
		}), map[string]string{"cat /proc/1/comm; test -d /run/openrc && echo openrc" + others: "init\nopenrc\nsshd\n"}},
		[]string{"ifdown eth0; ifup eth0", "ifdown --force eth0; ifup eth0", "/etc/init.d/networking restart"},
	}
	w.stay(g)
	w.typesReboot("vm-openrc", cutShort)
	w.check(g.odd)
}

// The same with runit, and stages as people write them.
func TestRunit(t *testing.T) {
	boottest.NeedLong(t, "debootstrap")
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}})
	g := guest{odd: odd{"runit", with(t, debianLayers(t, "runit-init", "openssh-server", "iproute2", "procps"), map[string]string{
		"etc/runit/1":     "#!/bin/sh\ninstall -m000 /dev/null /run/runit.stopit\ninstall -m000 /dev/null /run/runit.reboot\n",
		"etc/runit/2":     "#!/bin/sh\nexec runsvdir -P /etc/own\n",
		"etc/own/ssh/run": "#!/bin/sh\nmkdir -p /run/sshd\nexec /usr/sbin/sshd -D\n",
		"etc/runit/3":     "#!/bin/sh\nsleep 1000\n",
	}), map[string]string{"cat /proc/1/comm" + others: "runit\nsshd\n"}}}
	w.stay(g)
	w.typesReboot("vm-runit", cutShort)
	w.check(g.odd)
}

// A machine whose init shuts it down when it is to reboot starts again at once.
func TestInitThatShutsDown(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {
		"sbin/init":   "#!/bin/sh\nexec busybox init\n",
		"etc/inittab": "::sysinit:/bin/true\n::shutdown:/bin/busybox poweroff -f\n",
	}})
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node config vm1 boot.timeout=1h") // after which it would be started in any case
	w.does("alice", "node wait vm1")
	before := w.bootID("alice", "vm1")
	w.does("alice", "node reboot vm1")
	w.does("alice", "node wait vm1")
	if after := w.bootID("alice", "vm1"); after == before {
		t.Error("it was not rebooted")
	}
	if log := w.does("alice", "log show --type power"); strings.Contains(log, "not up after") {
		t.Errorf("the log says: %s", log)
	}
}
