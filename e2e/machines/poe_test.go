package machines

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"walt/e2e/lab"
	"walt/netboot/boottest"
)

// fedPC is a PC that runs as long as it has power, and its name.
type fedPC struct {
	*world
	name string
	dir  string // of its program
}

// program gives the PC its power and takes it, as outlets do: see lab.Outlet. Until the one
// before is gone for good, its end of the network is busy.
const program = `#!/bin/sh
cd "$(dirname "$0")"
case $1 in
on)
	[ ! -e pid ] || exit 0
	until qemu-system-x86_64 -daemonize -pidfile "$PWD/pid" -nodefaults -display none -m 512 \
		-netdev tap,id=n,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=n,mac=52:54:00:4f:2a:1c </dev/null >/dev/null
	do sleep 0.1; done
	;;
off) [ ! -e pid ] || { kill -KILL $(cat pid); rm pid; } ;;
status) if [ -e pid ]; then echo on; else echo off; fi ;;
*) exit 2 ;;
esac
`

// newFedPC has a PC become a node that is up, and of alice. It returns nil where nothing is left to do.
// made makes what gives the PC its power, with its program, and returns what the server's file says of that.
func newFedPC(t *testing.T, made func(dir, program string) (string, error)) *fedPC {
	t.Helper()
	boottest.NeedLong(t, "snmpd", "snmpget", "ipmi_sim")
	if inNetwork(t) {
		return nil
	}
	newSegment(t)
	tap(t, "tap0")
	dir, err := os.MkdirTemp("", "wm") // as for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	pc := &fedPC{name: "pc-4f2a1c", dir: dir}
	file := filepath.Join(dir, "pc")
	err = os.WriteFile(file, []byte(program), 0o755)
	declared := ""
	if err == nil {
		declared, err = made(dir, file)
	}
	if err != nil {
		t.Fatal(err)
	}
	pc.world = newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {"etc/name": "default\n"}}, segment, "[power]\nidle = \"5s\"\n"+declared)
	t.Cleanup(func() { run(t, file, "off") })
	run(t, file, "on")
	pc.until("alice", "node show --all --json", `"name":"`+pc.name+`"`)
	pc.does("alice", "node acquire "+pc.name)
	pc.does("alice", "node wait "+pc.name)
	return pc
}

// process is that of the PC, which has power.
func (pc *fedPC) process() (id int) {
	pc.t.Helper()
	text, err := os.ReadFile(filepath.Join(pc.dir, "pid"))
	if err == nil {
		id, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		pc.t.Fatalf("the PC has no power: %v", err)
	}
	return id
}

// saves gives the PC back, which then loses its power at what is called port, and takes it again.
func (pc *fedPC) saves(port string) {
	pc.t.Helper()
	pc.does("alice", "node release "+pc.name)
	pc.until("alice", "log show --type power", port+": switched off to save power")
	pc.until("alice", "node show --all --json", `"state":"powersave"`)
	if _, err := os.Stat(filepath.Join(pc.dir, "pid")); err == nil {
		pc.t.Error("in power saving it runs")
	}
	if out := pc.does("alice", "power show"); !strings.Contains(out, "off") {
		pc.t.Errorf("power show: %s", out)
	}
	pc.does("alice", "node acquire "+pc.name)
	pc.until("alice", "log show --type power", port+": has its power back")
	pc.process()
}

// reboots cuts its power for a moment.
func (pc *fedPC) reboots() {
	pc.t.Helper()
	first := pc.process()
	pc.does("alice", "node reboot "+pc.name+" --hard")
	pc.does("alice", "node wait "+pc.name)
	if now := pc.process(); now == first {
		pc.t.Error("its power was not cut")
	}
}

// stands cuts its power for a moment; it stands still when it has its kernel, and is power
// cycled unasked.
func (pc *fedPC) stands() {
	pc.t.Helper()
	pc.does("alice", "node reboot "+pc.name+" --hard")
	pc.until("alice", "node show "+pc.name, "has not mounted")
	id := pc.process()
	if err := syscall.Kill(id, syscall.SIGSTOP); err != nil {
		pc.t.Fatal(err)
	}
	pc.does("alice", "node wait "+pc.name)
	if now := pc.process(); now == id {
		pc.t.Error("it was not power cycled")
	}
}

// A PC at a port of a PoE switch loses its power while nobody needs it, and is awaited when
// somebody does. It is power cycled when its boot does not go on, be it that it asks for
// nothing, or stands still at a step.
func TestPoE(t *testing.T) {
	t.Parallel()
	var sw *lab.Switch
	pc := newFedPC(t, func(dir, program string) (_ string, err error) {
		if sw, err = lab.NewSwitch(dir, 1, 1, nil); err == nil {
			err = errors.Join(sw.Worked(program), sw.Start())
		}
		return "", err
	})
	if pc == nil {
		return
	}
	t.Cleanup(func() { _ = sw.Stop() })
	pc.does("alice", "device add sw-1 --mac 52:54:00:00:02:01")
	pc.does("alice", "device config sw-1 type=switch address="+sw.Address+" snmp.version=2 snmp.community=private poe.reboots=true")
	pc.does("alice", "device config "+pc.name+" switch=sw-1 port=1")
	pc.saves("port 1 of sw-1")
	pc.does("alice", "node wait "+pc.name)
	pc.reboots()

	// Its cable is out: it asks for nothing, until that is in.
	pc.does("alice", "node config "+pc.name+" boot.timeout=45s")
	run(t, "ip", "link", "set", "tap0", "nomaster")
	pc.does("alice", "node reboot "+pc.name+" --hard")
	pc.until("alice", "node show "+pc.name, "has not asked for anything")
	pc.until("alice", "log show --type power", "power cycle 1 of 9 (it was told to start")
	run(t, "ip", "link", "set", "tap0", "master", "lab0")
	pc.does("alice", "node wait "+pc.name)

	pc.stands()
	pc.until("alice", "log show --type power", ", and has not mounted ")
}

// The same PC at the outlets of drivers, one kind after another.
func TestDrivers(t *testing.T) {
	t.Parallel()
	outlets := map[string]*lab.Outlet{}
	pc := newFedPC(t, func(dir, program string) (declared string, err error) {
		for _, kind := range lab.OutletKinds {
			of := filepath.Join(dir, kind)
			if err := os.Mkdir(of, 0o755); err != nil {
				return "", err
			}
			o, err := lab.NewOutlet(of, kind, "#!/bin/sh\nexec "+program+" $1\n")
			if err == nil {
				err = o.Start()
			}
			if err != nil {
				return "", err
			}
			t.Cleanup(func() { _ = o.Stop() })
			outlets[kind] = o
			declared += o.Driver
		}
		return declared, nil
	})
	if pc == nil {
		return
	}
	pc.does("alice", "node config "+pc.name+" boot.timeout=45s")
	for _, kind := range lab.OutletKinds {
		o := outlets[kind]
		t.Logf("kind %s", kind)
		pc.does("admin", "device config "+pc.name+" power=poe --yes") // which forgets how often it was power cycled
		pc.does("admin", "device config "+pc.name+" power="+o.Supply+" power.off=1s --yes")
		pc.saves(o.Supply)
		pc.stands()
		pc.until("alice", "log show --type power", ", and has not mounted ")
	}
}
