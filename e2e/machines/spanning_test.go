package machines

import (
	"os"
	"strings"
	"testing"

	"walt/netboot/boottest"
)

// A PC at the port of a switch that looks for loops first boots all the same: its firmware
// waits for half a minute, and so does its kernel, whose driver takes the link down and up.
func TestSpanningTree(t *testing.T) {
	t.Parallel()
	boottest.NeedLong(t)
	if inNetwork(t) {
		return
	}
	newSegment(t)
	run(t, "ip", "link", "set", "lab0", "type", "bridge", "stp_state", "1") // 15 s it listens, and 15 s it learns
	w := newWorld(t, map[string]map[string]string{"waltplatform/pc-x86-64-default": {}}, segment)
	console := pc(t, "tap0", "52:54:00:4f:2a:1c", uefi) // which looks for an address for a minute
	awaitConsole(t, console, 1, "Linux version")
	run(t, "ip", "link", "set", "tap0", "down")
	run(t, "ip", "link", "set", "tap0", "up")
	w.does("alice", "node wait pc-4f2a1c")
	const waits = "nothing answers yet: the port of its switch may look for loops first (spanning tree), or the server is away (it has waited 10 s)"
	if shown, err := os.ReadFile(console); err != nil || !strings.Contains(string(shown), waits) {
		t.Errorf("it does not say what it waits for: %s, %v", shown, err)
	}
}
