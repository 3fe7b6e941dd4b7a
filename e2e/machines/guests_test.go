package machines

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/netboot/boottest"
)

const (
	units = "etc/systemd/system/"
	// dhcpOnEth0 tells ifupdown to have the interface of the root.
	dhcpOnEth0 = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"
)

// guest is an image of a whole system, and what somebody may type there that would take
// the network away from the root.
type guest struct {
	odd
	typed []string
}

// stay has machines boot guests, and sees that they come up, and stay up with the network
// and the root that they were given, whatever is typed there.
func (w *world) stay(guests ...guest) {
	w.t.Helper()
	begun := time.Now()
	var nodes []string
	for _, g := range guests {
		w.start(g.odd, patient...)
		nodes = append(nodes, "vm-"+g.name)
	}
	for _, g := range guests {
		w.up("alice", "vm-"+g.name)
		w.types("vm-"+g.name, "systemctl is-system-running --wait", "/run/all.started") // if it has that
		w.check(g.odd)
		w.t.Logf("%s is up %v after it began", g.name, time.Since(begun).Round(time.Second))
	}
	before := w.does("alice", "log show --type state")
	w.reads(30*time.Second, nodes...)
	for _, g := range guests {
		for i, command := range g.typed {
			w.types("vm-"+g.name, command, fmt.Sprintf("/run/typed.%d", i))
			w.reads(0, "vm-"+g.name)
		}
	}
	w.reads(30*time.Second, nodes...)
	if after := w.does("alice", "log show --type state"); after != before {
		w.t.Errorf("they did not stay up: the log says %s, after %s", after, before)
	}
	for _, node := range nodes {
		want := []string{"eth0", "UP", *w.node("alice", node).IP + "/20"}
		if words := strings.Fields(w.does("alice", "node run "+node+" ip -4 -br addr show eth0")); !slices.Equal(words, want) {
			w.t.Errorf("the interface of %s is %q, want %q", node, words, want)
		}
	}
}

// types has a machine run a command, which writes to a new file, and waits for its end
// longer than a client is waited for.
func (w *world) types(node, command, file string) {
	w.t.Helper()
	w.does("alice", "node run "+node+" ("+command+"; echo it ended) < /dev/null > "+file+" 2>&1 &")
	for end := time.Now().Add(5 * boottest.Wait); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out, err := w.Run("", "alice", "node", "run", node, "cat "+file); err == nil && strings.HasSuffix(out, "it ended\n") {
			w.t.Logf("%s: %s: %q", node, command, out)
			return
		}
	}
	w.t.Fatalf("%s: %s did not end", node, command)
}

// reads has machines read files of their root over the network, again and again for some
// time and at least once.
func (w *world) reads(d time.Duration, nodes ...string) {
	w.t.Helper()
	for end := time.Now().Add(d); ; {
		for _, node := range nodes {
			w.until("alice", "node run "+node+" echo 3 > /proc/sys/vm/drop_caches; cat /bin/s* | wc -c", "\n")
		}
		if !time.Now().Before(end) {
			return
		}
	}
}
