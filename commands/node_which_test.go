package commands

import (
	"strings"
	"testing"

	"walt/nodes"
)

// Which nodes are shown: a set, and what options leave of it.
func TestShowWhich(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,pc-1")
	lab.ok("carol", "node acquire rpi-10")
	lab.up("rpi-1", "127.0.0.1:1")
	lab.up("rpi-2", "127.0.0.1:1")
	for options, want := range map[string]string{
		"":                                  "pc-1 rpi-1",
		"rpi-*":                             "rpi-1 rpi-2 rpi-10", // one's own, free ones, those of others
		"RPI-10,rpi-2":                      "rpi-2 rpi-10",
		"--all rpi-2":                       "rpi-2",
		"free-nodes":                        "rpi-2",
		"--model rpi-3-b":                   "rpi-1",
		"--model rpi-3-b,pc-x86-64":         "pc-1 rpi-1",
		"--all --model rpi-3-b":             "rpi-1 rpi-2 rpi-10",
		"--free":                            "rpi-2",
		"--free rpi-1*":                     "",
		"--owner carol":                     "rpi-10",
		"--owner carol,bob":                 "pc-1 rpi-1 rpi-10",
		"--state up":                        "rpi-1",
		"--all --state up":                  "rpi-1 rpi-2",
		"all-nodes --state up --free":       "rpi-2",
		"--state off,booting --owner carol": "rpi-10",
		"--free --model pc-x86-64":          "",
		"--owner alice":                     "",
	} {
		got := strings.Join(strings.Fields(lab.ok("bob", "node show --names-only "+options)), " ")
		if got != want {
			t.Errorf("%q: %q, want %q", options, got, want)
		}
		doc := lab.ok("bob", "node show --json "+options)
		if n := strings.Count(doc, `"name":`); n != len(strings.Fields(want)) {
			t.Errorf("%q as JSON has %d nodes: %s", options, n, doc)
		}
	}
	lab.tell([]step{
		{user: "bob", line: "node show --owner alice", stderr: "There is no such node. See all with: node show --all\n"},
		{user: "bob", line: "node show --json --owner alice", stdout: `{"nodes":[]}` + "\n"},
		{user: "alice", line: "node show my-nodes", status: StatusFailed, stderr: "walt: the set \"my-nodes\" is empty\n  see all nodes with: node show --all\n"},
		{user: "bob", line: "node show rpi-3", status: StatusFailed, stderr: "walt: unknown node rpi-3\n  did you mean rpi-1 or rpi-2 instead of rpi-3?\n"},
		{user: "bob", line: "node show --model rpi-3,nothing", status: StatusFailed, stderr: "walt: unknown models rpi-3, nothing\n  did you mean rpi-3-b instead of rpi-3?\n"},
		{user: "bob", line: "node show --state op", status: StatusFailed, stderr: "walt: unknown state op\n  did you mean up instead of op?\n"},
		{user: "bob", line: "node show --state frozen", status: StatusFailed, stderr: "walt: unknown state frozen\n  see what the states are with: help show power\n"},
		{user: "bob", line: "node show --owner karol", status: StatusFailed, stderr: "walt: unknown owner karol\n  did you mean carol instead of karol?\n"},
		{user: "bob", line: "node show --owner waltplatform", status: StatusFailed, stderr: "walt: unknown owner waltplatform\n  see all users with: user show; free nodes with: node show --free; your own with: node show\n"},
		{user: "bob", line: "node show --state ''", status: StatusUsage, stderr: "walt: --state: \"\" has an empty name\n"},
	})
	if got := lab.run("bob", "node show --owner bob --free", ""); got.status != StatusUsage || !strings.HasPrefix(got.stderr, "walt: node show: --free or --owner USER, not both") {
		t.Errorf("both: %+v", got)
	}
	help := lab.ok("bob", "help show power")
	for _, s := range nodes.States() {
		if !strings.Contains(help, "\n"+string(s)+" ") {
			t.Errorf("topic power does not tell of the state %s", s)
		}
	}
}
