package commands

import (
	"context"
	"strings"
	"testing"

	"walt/fault"
	"walt/nodes"
)

// socket is a host whose nodes come up as soon as they are started; every other boot of
// those that fail does not.
type socket struct {
	lab   *testLab
	fails bool

	boots int
}

func (s *socket) Start(n nodes.Name) error {
	if _, err := s.lab.nodes.Boot(context.Background(), n); err != nil {
		return err
	}
	if s.boots++; s.fails && s.boots%2 == 0 {
		s.lab.nodes.Failed(n, fault.Failedf("its image has no init"))
		return nil
	}
	s.lab.nodes.Up(n, "127.0.0.1:1")
	return nil
}

func (s *socket) Resume(context.Context, nodes.Name) bool { return false }

func (s *socket) Stop(nodes.Name) {}

func TestDeviceTest(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	host := &socket{lab: lab}
	lab.nodes.Hosts[nodes.Simulated] = host
	usage := "  usage: device test [--rounds N] [--hard] [--timeout D] [--yes] [--no-input] [--json] NODE\n"
	table := "\nSTEP       MIN    MEDIAN  MAX\n" +
		"kernel     0.0 s  0.0 s   0.0 s\n" +
		"up         0.0 s  0.0 s   0.0 s\n" +
		"all of it  0.0 s  0.0 s   0.0 s\n\n"
	lab.tell([]step{
		{user: "bob", line: "device test", status: StatusUsage, stderr: "walt: device test: NODE is missing\n" + usage},
		{user: "bob", line: "device test pc-1 --rounds 0", status: StatusUsage, stderr: "walt: --rounds: \"0\" is not a positive whole number\n" + usage},
		{user: "bob", line: "device test pc-1 --rounds 1001", status: StatusUsage, stderr: "walt: --rounds: 1001 are too many; want 1 to 1000\n" + usage},
		{user: "bob", line: "device test all-nodes", status: StatusUsage, stderr: "walt: device test: one node at a time\n" + usage},
		{user: "bob", line: "device test rpi-1", status: StatusFailed, stderr: "walt: the server has no means to start rpi-1 anew\n  switch it off and on by hand, and test it when it is up: node wait rpi-1\n"},
		{
			user: "bob", line: "device test pc-1 --rounds 2",
			stdout: "Round 1 of 2: up after 0.0 s (kernel 0.0, up 0.0)\nRound 2 of 2: up after 0.0 s (kernel 0.0, up 0.0)\n" +
				table + "pc-1 came up in all 2 rounds (median 0.0 s)\n",
		},
		{user: "bob", line: "log show --type power", stdout: "2026-11-22 12:00:00 power bob rpi-1: reboot: none\n" +
			"2026-11-22 12:00:00 power bob pc-1: reboot: ok\n" +
			"2026-11-22 12:00:00 power bob pc-1: reboot: ok\n" +
			"2026-11-22 12:00:00 power bob pc-1: tested: it came up in all 2 rounds (median 0.0 s)\n"},
	})
	host.fails, host.boots = true, 0
	const words = "came up in 1 of 2 rounds (median 0.0 s); once it went no further than kernel: its image has no init"
	lab.ok("bob", "node acquire pc-1")
	got := lab.run("alice", "device test pc-1 --rounds 2 --json", "")
	if got.status != StatusInUse || !strings.Contains(got.stderr, "Test pc-1 anyway? [y/N]") {
		t.Errorf("of the node of somebody else: %+v", got)
	}
	host.boots = 0
	lab.tell([]step{
		{
			user: "alice", line: "device test pc-1 --rounds 2 --hard --json --yes", status: StatusFailed,
			stdout: `{"name":"pc-1","rounds":[{"round":1,"up":true,"seconds":0,"step":"up","reason":null,"took":[{"step":"kernel","seconds":0},{"step":"up","seconds":0}]},` +
				`{"round":2,"up":false,"seconds":0,"step":"kernel","reason":"its image has no init","took":[{"step":"kernel","seconds":0}]}],` +
				`"test":{"verdict":"failed","by":"alice","began":"2026-11-22T12:00:00Z","ended":"2026-11-22T12:00:00Z","image":"bob/pc-x86-64-default:latest","wanted":2,"done":2,"came_up":1,"reason":null,` +
				`"steps":[{"step":"kernel","min":0,"median":0,"max":0},{"step":"up","min":0,"median":0,"max":0},{"step":"all","min":0,"median":0,"max":0}],` +
				`"failures":[{"step":"kernel","reason":"its image has no init","times":1}]}}` + "\n",
			stderr: "walt: pc-1 did not come up in 1 of 2 rounds\n  see how far it is with: node show pc-1\n  what can be wrong: help show hardware\n",
		},
	})
	if got := lab.run("bob", "device show pc-1", "").stderr; !strings.HasSuffix(got, "Tested by alice, 2026-11-22 12:00 UTC: it "+words+".\n") {
		t.Errorf("device show tells %q", got)
	}
	if got := lab.ok("bob", "node show pc-1"); !strings.Contains(got, "tested  by alice, 2026-11-22 12:00 UTC: it "+words+"\n") {
		t.Errorf("node show tells %q", got)
	}
	if got := lab.ok("bob", "device show pc-1 --json"); !strings.Contains(got, `"test":{"verdict":"failed","by":"alice"`) {
		t.Errorf("for programs it is %q", got)
	}
	if got := lab.ok("bob", "device show --json"); strings.Contains(got, `"test"`) {
		t.Errorf("of all devices it tells %q", got)
	}
}
