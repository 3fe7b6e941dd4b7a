package machines

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"walt/netboot/boottest"
)

// reach checks that each of some nodes reaches all others, by name.
func (w *world) reach(all ...string) {
	w.t.Helper()
	for _, from := range all {
		for _, to := range all {
			name := to + ".lab.example"
			if out := w.does("alice", "node run "+from+" ping -c 1 -W 10 "+name); !strings.Contains(out, " 0% packet loss") {
				w.t.Errorf("%s does not reach %s: %s", from, name, out)
			}
		}
	}
}

// taps are those of machines that there are.
func taps(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if strings.HasPrefix(i.Name, "vm-") {
			names = append(names, i.Name)
		}
	}
	return names
}

// A machine of the server and a PC are on one network, where each finds the other one by
// name. They go on while the server is killed. Nothing is left of a machine that is off.
func TestMachineInTheLab(t *testing.T) {
	t.Parallel()
	w := plugIn(t, ipxe, map[string]map[string]string{}, "network = \"lab\"")
	if w == nil {
		return
	}
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node wait vm1")
	w.reach("vm1", "pc-4f2a1c")
	if all := taps(t); len(all) != 1 {
		t.Fatalf("it has the taps %q", all)
	}

	before := w.bootID("alice", "vm1") + w.bootID("alice", "pc-4f2a1c")
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "set", taps(t)[0], "nomaster") // as if the bridge had been made anew
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "node wait vm1,pc-4f2a1c")
	if after := w.bootID("alice", "vm1") + w.bootID("alice", "pc-4f2a1c"); after != before {
		t.Error("a restart of the server rebooted them")
	}
	w.reach("vm1", "pc-4f2a1c")

	// It fetches its kernel as a PC does.
	w.does("alice", "node config vm1 boot.loader=pxe")
	w.does("alice", "node reboot vm1 --hard")
	w.does("alice", "node wait vm1")
	if out := w.does("alice", "node run vm1 cat /proc/cmdline"); !strings.Contains(out, "initrd=initrd") {
		t.Errorf("it does not: %s", out)
	}
	w.reach("vm1", "pc-4f2a1c")

	w.does("alice", "node remove vm1")
	if left := taps(t); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// Who changes the network that machines are on has them start anew there, and no process is
// left of where they were.
func TestMachineGoesToTheLab(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}}, segment)
	w.does("alice", "node create vm1 --model pc-x86-64")
	w.does("alice", "node wait vm1")
	for _, change := range [][2]string{{"[network]", "network = \"lab\"\n[network]"}, {"network = \"lab\"\n", ""}} {
		before := w.processes()
		config, err := os.ReadFile(w.Config)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(config), change[0], change[1], 1)
		if err := errors.Join(w.Kill(), os.WriteFile(w.Config, []byte(changed), 0o644), w.Start()); err != nil {
			t.Fatal(err)
		}
		w.does("alice", "node wait vm1")
		private := strings.Contains(w.does("alice", "node run vm1 cat /proc/cmdline"), "walt.ip=10.217.")
		if private != (change[1] == "") || len(taps(t)) != 1 && !private || len(taps(t)) > 0 && private {
			t.Errorf("with %q, it is on the private network: %v; taps: %q", change[1], private, taps(t))
		}
		for _, id := range before {
			if err := syscall.Kill(id, 0); err == nil {
				t.Errorf("with %q, the process %d runs on", change[1], id)
			}
		}
	}
}

// Two PCs find each other by name.
func TestTwoPCs(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	w := plugIn(t, ipxe, map[string]map[string]string{})
	if w == nil {
		return
	}
	pc(t, "tap1", "52:54:00:4f:2a:1d", ipxe)
	w.until("alice", "node show --all --json", `"name":"pc-4f2a1d"`)
	w.does("alice", "node wait pc-4f2a1d")
	w.reach("pc-4f2a1c", "pc-4f2a1d")
}
