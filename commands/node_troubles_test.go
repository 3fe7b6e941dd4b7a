package commands

import (
	"fmt"
	"strings"
	"testing"

	"walt/ethernet"
	"walt/fault"
	"walt/nodes"
)

// Below a table of many nodes that could not boot stand a few names and sentences, and a
// line that shows the others.
func TestManyTroubles(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	fail := func(i int, why string) {
		t.Helper()
		name := nodes.Name(fmt.Sprintf("x%d", i))
		mac, err := ethernet.ParseMAC(fmt.Sprintf("52:54:05:00:00:%02x", i))
		lab.must(err)
		_, err = lab.nodes.Register(t.Context(), "alice", nodes.Announcement{Name: name, MAC: mac, Model: "rpi-3-b"})
		lab.must(err)
		lab.nodes.Failed(name, fault.Failedf("%s", why))
	}
	const many, reasons = 20, mostTroubles + 2
	for i := range many {
		fail(i, "no disk")
	}
	const see = "See all in state unreachable with: node show --all --state unreachable; add --json to see why each is.\n"
	want := "x0, x1, x2, x3, x4 and 15 others cannot boot: no disk.\n" + see
	for _, line := range []string{"node show --all", "device show"} {
		if got := lab.run("alice", line, ""); got.stderr != want {
			t.Errorf("%s: %q, want %q", line, got.stderr, want)
		}
	}
	if got := lab.ok("bob", "node show --all --state unreachable --names-only"); strings.Count(got, "\n") != many {
		t.Errorf("the nodes that are unreachable: %s", got)
	}
	if got := lab.ok("bob", "node show --all --state unreachable --json"); strings.Count(got, `"no disk"`) < many {
		t.Errorf("why they are: %s", got)
	}
	for i := range reasons {
		fail(many+i, fmt.Sprintf("no disk %d", i))
	}
	got := lab.run("alice", "node show x*", "").stderr
	if !strings.HasSuffix(got, "\n3 other nodes cannot boot for other reasons.\n"+see) || strings.Count(got, "\n") != mostTroubles+2 {
		t.Errorf("of many reasons: %s", got)
	}
}
