package commands

import (
	"strings"
	"testing"
	"time"

	"walt/images"
)

// What is told of one node alone: what runs there, and how far its boot is.
func TestNodeDetail(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1,rpi-1")
	show := func(name string, want ...string) {
		t.Helper()
		out := lab.ok("bob", "node show "+name)
		_, facts, _ := strings.Cut(out, "\n\n")
		if got := strings.Join(strings.Split(strings.TrimSuffix(facts, "\n"), "\n"), "|"); got != strings.Join(want, "|") {
			t.Errorf("%s:\n%s\nwant %q", name, out, want)
		}
	}
	show("pc-1", "host  simulated", "mac   52:54:00:00:01:01", "step  was told to start 0 s ago, has not asked for anything")
	_, err := lab.nodes.Boot(t.Context(), "pc-1")
	lab.must(err)
	lab.pass(time.Minute)
	show("pc-1", "host  simulated", "mac   52:54:00:00:01:01", "step  loaded its kernel 1 min ago, has not mounted its root")
	if got := lab.ok("bob", "node show pc-1 --json"); !strings.Contains(got, `"step":"kernel","step_since":"2026-11-22T12:00:00Z","running":null`) {
		t.Errorf("as JSON it is %s", got)
	}
	lab.up("pc-1", "127.0.0.1:4711")
	show("pc-1", "host     simulated", "mac      52:54:00:00:01:01", "address  127.0.0.1", "runs     pc-x86-64-default")
	lab.nodes.Wrote("pc-1", 3<<20, 300<<20)
	show("pc-1", "host     simulated", "mac      52:54:00:00:01:01", "address  127.0.0.1", "runs     pc-x86-64-default", "written  3.0 MiB of 300 MiB")
	if got := lab.ok("bob", "node show pc-1 --json"); !strings.Contains(got, `"written":{"used":3145728,"limit":314572800}`) {
		t.Errorf("as JSON it is %s", got)
	}
	if out := lab.ok("bob", "node show pc-*"); strings.Contains(out, "\n\n") {
		t.Errorf("of a set it says more:\n%s", out)
	}

	// A node that nobody can reboot goes on with what it ran.
	lab.up("rpi-1", "127.0.0.1:1")
	lab.addImage(images.Image{Ref: images.Ref{User: "bob", Name: "rpi-3-b-default", Tag: "latest"}, Models: []images.Model{"rpi-3-b"}, Digest: "sha256:" + strings.Repeat("1", 64)})
	address := []string{"host     physical", "mac      52:54:00:00:00:01", "address  127.0.0.1"}
	show("rpi-1", append(address, "runs     an earlier rpi-3-b-default, reboots into rpi-3-b-default")...)
	lab.run("bob", "node boot rpi-1 default", "") // it does not answer
	show("rpi-1", append(address, "runs     rpi-3-b-default, reboots into walt:waltplatform/rpi-3-b-default")...)
	if got := lab.ok("bob", "node show rpi-1 --json"); !strings.Contains(got, `"image":"waltplatform/rpi-3-b-default:latest","state":"up"`) ||
		!strings.Contains(got, `"running":{"image":"bob/rpi-3-b-default:latest",`) {
		t.Errorf("as JSON it is %s", got)
	}
	lab.nodes.Down("rpi-1", false, "")
	show("rpi-1", "host    physical", "mac     52:54:00:00:00:01", "reason  switched off from inside")
}
