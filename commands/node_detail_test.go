package commands

import (
	"strings"
	"testing"
	"time"

	"walt/images"
	"walt/nodes"
)

// What was sent to a node in its last boot, and what was not, is told of it alone.
func TestTrailOfANode(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	reached := func(s nodes.Step) { lab.nodes.Reached(t.Context(), "rpi-1", s) }
	reached(nodes.StepAddress)
	lab.pass(1500 * time.Millisecond)
	lab.nodes.Sent(t.Context(), "rpi-1", nodes.StepLoader, 2<<20, 2*time.Second)
	reached(nodes.StepLoader)
	lab.nodes.Sent(t.Context(), "rpi-1", nodes.StepKernel, 300, 0)
	lab.nodes.Refused(t.Context(), "rpi-1", "TFTP bootsig.bin", "there is no such file")
	lab.nodes.Refused(t.Context(), "rpi-1", "TFTP bootsig.bin", "there is no such file")
	_, got, _ := strings.Cut(lab.ok("bob", "node show rpi-1"), "\nstep ")
	const want = ` loaded its loader 0 s ago, has not asked what to boot

The steps of its last boot:
    address  2026-11-22 12:00:00
    loader   1.5 s later          2.0 MiB  1.0 MiB/s
    kernel   not yet              300 B

What it asked for in vain:
    12:00:01  TFTP bootsig.bin: there is no such file (2 times)
`
	if got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
	const doc = `,"steps":[{"step":"address","at":"2026-11-22T12:00:00Z","bytes":0,"rate":0},{"step":"loader","at":"2026-11-22T12:00:01.5Z","bytes":2097152,"rate":1048576},` +
		`{"step":"kernel","at":null,"bytes":300,"rate":0}],"refused":[{"at":"2026-11-22T12:00:01.5Z","file":"TFTP bootsig.bin","reason":"there is no such file","times":2}],"serial":null}]}`
	if got := lab.ok("bob", "node show rpi-1 --json"); !strings.HasSuffix(got, doc+"\n") {
		t.Errorf("as JSON it is %s", got)
	}
	if got := lab.runIn(t.Context(), lab.narrow(40), "node show rpi-1").stdout; !strings.Contains(got, "\n    12:00:01  TFTP bootsig.bin: there is\n              no such file (2 times)\n") {
		t.Errorf("on a narrow terminal it is %q", got)
	}
	if got := lab.ok("bob", "node show rpi-* --json"); strings.Contains(got, "refused") {
		t.Errorf("of several it tells %s", got)
	}
	if got := lab.ok("bob", "device show rpi-1"); !strings.Contains(got, "booting, loader 0 s ago\n") {
		t.Errorf("device show tells %s", got)
	}
}

// What is told of one node alone: what runs there, and how far its boot is.
func TestNodeDetail(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1,rpi-1")
	show := func(name string, want ...string) {
		t.Helper()
		out := lab.ok("bob", "node show "+name)
		_, facts, _ := strings.Cut(out, "\n\n")
		facts, _, _ = strings.Cut(facts, "\n\nThe steps ")
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
