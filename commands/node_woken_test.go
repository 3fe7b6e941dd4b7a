package commands

import (
	"strings"
	"sync/atomic"
	"testing"

	"walt/ethernet"
)

// packets counts those that are sent to wake nodes.
type packets struct{ sent atomic.Int64 }

func (p *packets) Able() error { return nil }

func (p *packets) Wake(ethernet.MAC) error {
	p.sent.Add(1)
	return nil
}

// Of a node that packets wake is told what was done, which is not that it is on, and how to see
// whether it helped.
func TestNodeThatPacketsWake(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	p := &packets{}
	lab.nodes.Ports.Waker = p
	lab.ok("alice", "device config rpi-1,rpi-2 power=wol")
	lab.tell([]step{
		{
			user: "bob", line: "node on rpi-1", stdout: "rpi-1 was sent packets that wake it\n",
			stderr: "It shows itself when it boots; wait for that with: node wait rpi-1\n",
		},
		{
			user: "bob", line: "node acquire rpi-2", stdout: "rpi-2 is yours and boots rpi-3-b-default: it was sent packets that wake it\n",
			stderr: "Cloned the default image into your working set as rpi-3-b-default.\nIt shows itself when it boots; wait for that with: node wait rpi-2\n",
		},
		{
			user: "bob", line: "node on rpi-1 --json",
			stdout: `{"cloned":[],"nodes":[{"name":"rpi-1","owner":null,"image":"waltplatform/rpi-3-b-default:latest","previous_owner":null,"changed":false,"reboot":"ok","reboot_reason":null,"rousing":true}]}` + "\n",
		},
	})
	if n := p.sent.Load(); n != 3*3 {
		t.Errorf("%d packets were sent", n)
	}
	if got := lab.ok("bob", "node show rpi-1"); !strings.Contains(got, "wol (to be on: it was sent magic packets, and has not begun to boot yet)\n") {
		t.Errorf("it is not told of its power: %s", got)
	}
	// It boots: then it is on indeed.
	_, err := lab.nodes.Boot(t.Context(), "rpi-1")
	lab.must(err)
	lab.nodes.Up("rpi-1", "127.0.0.1:1")
	lab.tell([]step{{user: "bob", line: "node on rpi-1", stdout: "rpi-1 is already on\n"}})
	if got := lab.ok("bob", "node show rpi-1"); !strings.Contains(got, "wol (on)\n") {
		t.Errorf("it is not told of its power: %s", got)
	}
}
