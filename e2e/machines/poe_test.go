package machines

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"walt/e2e/lab"
	"walt/netboot/boottest"
)

// outlet is port 1 of a switch, for pass_persist of snmpd: the PC at its end runs as long as
// it has power. It tells the process of that, and ends it with itself.
const outlet = `#!/bin/sh
oid=.1.3.6.1.2.1.105.1.1.1.3.1.1
on() {
	[ $power = 1 ] || { qemu-system-x86_64 -nodefaults -display none -m 512 -netdev tap,id=n,ifname=tap0,script=no,downscript=no \
		-device virtio-net-pci,netdev=n,mac=52:54:00:4f:2a:1c </dev/null >/dev/null 2>&1 & pid=$!; }
	echo $pid >"$1/pid"
	power=1
}
off() {
	[ $power = 2 ] || { kill -KILL $pid; wait $pid 2>/dev/null; }
	rm -f "$1/pid"
	power=2
}
tell() { printf '%s\ninteger\n%s\n' $oid $power; }
power=2
on "$1"
while read -r word; do
	case $word in
	PING) echo PONG ;;
	get) read -r asked; if [ "$asked" = $oid ]; then tell; else echo NONE; fi ;;
	getnext) read -r asked; case $oid in "$asked".*) tell ;; *) echo NONE ;; esac ;;
	set)
		read -r asked
		read -r value
		case $value in "integer 1") on "$1" ;; "integer 2") off "$1" ;; esac
		echo DONE
		;;
	esac
done
off "$1"
`

// A PC at a port of a PoE switch.
func TestPoE(t *testing.T) {
	t.Parallel()
	testFed(t, "port 1 of sw-1", func(*lab.Switch) string { return "" }, func(w *world, sw *lab.Switch, pc string) {
		w.does("alice", "device add sw-1 --mac 52:54:00:00:02:01")
		w.does("alice", "device config sw-1 type=switch address="+sw.Address+" snmp.version=2 snmp.community=private poe.reboots=true")
		w.does("alice", "device config "+pc+" switch=sw-1 port=1")
	})
}

// A PC at an outlet of a PDU, which is here what a PoE switch is to a driver that knows but OIDs.
func TestPDU(t *testing.T) {
	t.Parallel()
	testFed(t, "rack:1", func(sw *lab.Switch) string {
		return "[[power.driver]]\nname = \"rack\"\nkind = \"snmp\"\nhost = \"" + sw.Address + "\"\noid = \"1.3.6.1.2.1.105.1.1.1.3.1\"\non = 1\noff = 2\n"
	}, func(w *world, _ *lab.Switch, pc string) {
		w.does("admin", "device config "+pc+" power=rack:1 power.off=2s")
	})
}

// testFed has a PC have its power from one of these: that is saved while nobody needs the PC,
// which is awaited when somebody does, and it is power cycled when its boot does not go on, be
// it that it asks for nothing, or stands still at a step.
func testFed(t *testing.T, port string, declared func(*lab.Switch) string, connect func(w *world, sw *lab.Switch, pc string)) {
	boottest.NeedLong(t, "snmpd", "snmpget")
	if inNetwork(t) {
		return
	}
	newSegment(t)
	tap(t, "tap0")
	dir := t.TempDir()
	program := filepath.Join(dir, "outlet")
	sw, err := lab.NewSwitch(dir, 1, 1, nil)
	if err == nil {
		err = os.WriteFile(program, []byte(outlet), 0o755)
	}
	if err == nil {
		err = sw.Worked(program + " " + dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}}, segment, "[power]\nidle = \"5s\"\n"+declared(sw))
	if err := sw.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sw.Stop() })
	runs := func() (id int) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			id, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if err != nil {
			t.Fatalf("the PC has no power: %v", err)
		}
		return id
	}
	const pc = "pc-4f2a1c"
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1c"`)
	w.does("alice", "node wait "+pc)
	connect(w, sw, pc)

	// Nobody needs it.
	w.until("alice", "log show --type power", port+": switched off to save power")
	w.until("alice", "node show --all --json", `"state":"powersave"`)
	if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
		t.Error("in power saving it runs")
	}
	if out := w.does("alice", "power show"); !strings.Contains(out, "off") {
		t.Errorf("power show: %s", out)
	}

	// Somebody does.
	w.does("alice", "node acquire "+pc)
	w.does("alice", "node wait "+pc)
	first := runs()
	w.until("alice", "log show --type power", port+": has its power back")

	// It is cut off for a moment.
	w.does("alice", "node reboot "+pc+" --hard")
	w.does("alice", "node wait "+pc)
	if now := runs(); now == first {
		t.Error("its power was not cut")
	}

	// Its cable is out: it asks for nothing, until that is in.
	w.does("alice", "node config "+pc+" boot.timeout=45s")
	run(t, "ip", "link", "set", "tap0", "nomaster")
	w.does("alice", "node reboot "+pc+" --hard")
	w.until("alice", "node show "+pc, "has not asked for anything")
	w.until("alice", "log show --type power", "power cycle 1 of 9 (it was told to start")
	run(t, "ip", "link", "set", "tap0", "master", "lab0")
	w.does("alice", "node wait "+pc)

	// It stands still when it has its kernel.
	w.does("alice", "node reboot "+pc+" --hard")
	w.until("alice", "node show "+pc, "has not mounted")
	stands := runs()
	if err := syscall.Kill(stands, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait "+pc)
	if now := runs(); now == stands {
		t.Error("it was not power cycled")
	}
	w.until("alice", "log show --type power", ", and has not mounted ")
}
