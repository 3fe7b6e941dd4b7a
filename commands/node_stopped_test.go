package commands

import (
	"strings"
	"testing"

	"walt/fault"
)

// Who enters a node whose boot stopped, on purpose or not, is told where that is.
func TestStoppedBoot(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	closed := "127.0.0.1:1"
	enters := func(what string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			got := lab.run("bob", line, "exit\n")
			if got.status != StatusFailed || !strings.Contains(got.stderr, what) || !strings.Contains(got.stderr, "the connection to pc-1 failed") {
				t.Errorf("%s: status %d, %s", line, got.status, got.stderr)
			}
		}
	}
	_, err := lab.nodes.Boot(t.Context(), "pc-1")
	lab.must(err)
	lab.nodes.Stopped("pc-1", closed, nil)
	enters("pc-1 stopped before its root is mounted (boot.rescue=on). What answers is the server's own init, not the image; its commands: help\n", "node run pc-1 log", "node shell pc-1")
	if got := lab.run("bob", "node wait pc-1", ""); got.status != StatusFailed || !strings.Contains(got.stderr, "stopped before the root is mounted, as boot.rescue says\n  look around with: node shell pc-1\n  have it go on with: node run pc-1 continue") {
		t.Errorf("waited for: %+v", got)
	}
	lab.nodes.Failed("pc-1", fault.Failedf("it has no root"))
	if got := lab.run("bob", "node run pc-1 log", ""); !strings.Contains(got.stderr, "pc-1 is not up (unreachable)") {
		t.Errorf("nothing answers: %+v", got)
	}
	lab.nodes.Stopped("pc-1", closed, fault.Failedf("it has no root"))
	enters("pc-1 could not boot: it has no root. What answers is the server's own init, not the image; its commands: help.", "node run pc-1 log", "node shell pc-1")
}
