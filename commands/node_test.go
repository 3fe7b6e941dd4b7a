package commands

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"walt/fault"
	"walt/images"
)

const mineAndReboot = " is yours and boots rpi-3-b-default at its next start: the server has no means to reboot it\n"

func TestAcquireAndRelease(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "bob", line: "node show", stderr: "You have no nodes. Take one with: node acquire SET; see all with: node show --all\n"},
		{
			user: "bob", line: "node acquire rpi-10,pc-1,rpi-1",
			stdout: "pc-1 is yours and boots pc-x86-64-default: rebooting\nrpi-1" + mineAndReboot + "rpi-10" + mineAndReboot,
			stderr: "Cloned the default image into your working set as pc-x86-64-default.\n" +
				"Cloned the default image into your working set as rpi-3-b-default.\n",
		},
		{user: "bob", line: "node show --names-only", stdout: "pc-1\nrpi-1\nrpi-10\n"},
		{
			user: "bob", line: "node acquire rpi-1,rpi-2", status: StatusFailed,
			stderr: "walt: already yours: rpi-1; nothing changed\n" +
				"  to change what a node boots: node boot rpi-1 IMAGE (see: help show node-ownership)\n",
		},
		{
			user: "bob", line: "node acquire rpi-1 --for 2h", status: StatusFailed,
			stderr: "walt: already yours: rpi-1; nothing changed\n" +
				"  to change what a node boots: node boot rpi-1 IMAGE (see: help show node-ownership)\n" +
				"  to have nodes released at another time: node extend rpi-1 1h (see: help show sharing)\n",
		},
		{user: "bob", line: "node acquire rpi-2", stdout: "rpi-2" + mineAndReboot},
		{user: "bob", line: "node boot rpi-2 rpi-3-b-default", stdout: "rpi-2 is yours and boots rpi-3-b-default already: left alone\n"},
		{
			user: "bob", line: "node boot rpi-2,pc-1 rpi-3-b-default", status: StatusFailed,
			stderr: "walt: rpi-3-b-default cannot boot pc-1: the image is for rpi-3-b; nothing changed\n" +
				"  see the models of nodes with: node show --all\n  those of images with: image show\n",
		},
		{
			user: "carol", line: "node release rpi-1", status: StatusFailed,
			stderr: "walt: not yours: rpi-1 (owned by bob); nothing changed\n  free it all the same with: node boot rpi-1 default (see: help show node-ownership)\n",
		},
		{
			user: "carol", line: "node release rpi-1,rpi-2", status: StatusFailed,
			stderr: "walt: not yours: rpi-1 (owned by bob), rpi-2 (owned by bob); nothing changed\n  free them all the same with: node boot rpi-1,rpi-2 default (see: help show node-ownership)\n",
		},
		{
			user: "bob", line: "image remove pc-x86-64-default", status: StatusFailed,
			stderr: "walt: cannot remove pc-x86-64-default while pc-1 boots it; nothing changed\n  release it first, or boot it on another image: node boot pc-1 IMAGE\n",
		},
		{
			user: "bob", line: "image remove rpi-3-b-default", status: StatusFailed,
			stderr: "walt: cannot remove rpi-3-b-default while nodes boot it: rpi-1, rpi-2, rpi-10; nothing changed\n  release them first, or boot them on another image: node boot rpi-1,rpi-2,rpi-10 IMAGE\n",
		},
		{user: "bob", line: "node release rpi-10", stdout: "rpi-10 is free and boots its default image at its next start: the server has no means to reboot it\n"},
		{user: "bob", line: "node boot pc-1 default", stdout: "pc-1 is free and boots its default image: rebooting\n"},
	})
	if got, want := lab.ok("bob", "node show --all --names-only"), "rpi-1\nrpi-2\npc-1\nrpi-10\n"; got != want {
		t.Errorf("mine, then free ones: %q, want %q", got, want)
	}
}

// A node that cannot boot: what users see of it, and how they go on.
func TestCannotBoot(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1,rpi-1")
	lab.nodes.Failed("pc-1", fault.Failedf("its content is damaged"))
	lab.nodes.Failed("rpi-2", fault.Failedf("it booted from its own disk"))
	lab.tell([]step{
		{
			user: "bob", line: "node wait rpi-2", status: StatusFailed,
			stderr: "walt: rpi-2 cannot boot: it booted from its own disk\n  when that is mended, start again with: node reboot rpi-2\n  or, where the server has no means to do so, switch off and on by hand\n",
		},
		{
			user: "bob", line: "node wait pc-1", status: StatusFailed,
			stderr: "walt: pc-1 cannot boot: its content is damaged\n  when that is mended, start again with: node reboot pc-1\n",
		},
		{
			user: "carol", line: "device show pc-1", stderr: "pc-1 cannot boot: its content is damaged.\n",
			stdout: "NAME  TYPE  MODEL      MAC                IP  SWITCH  PORT  STATE\n" +
				"pc-1  node  pc-x86-64  52:54:00:00:01:01  -   -       -     unreachable\n",
		},
	})
	shown := lab.run("bob", "node show", "")
	if !strings.Contains(shown.stdout, " unreachable ") || shown.stderr != "pc-1 cannot boot: its content is damaged.\n" {
		t.Errorf("shown is %+v", shown)
	}
	if got := lab.ok("bob", "node show --json"); !strings.Contains(got, `"state":"unreachable","state_reason":"its content is damaged"`) {
		t.Errorf("got %s", got)
	}
	if got := lab.ok("bob", "log show"); !strings.Contains(got, "cannot boot bob/pc-x86-64-default: its content is damaged") {
		t.Errorf("the log is %s", got)
	}
	lab.tell([]step{{user: "bob", line: "node reboot pc-1", stdout: "pc-1 is rebooting\n"}})
	lab.up("pc-1", "127.0.0.1:4711")
	lab.rack.refuses = fault.Failedf("there is no memory for it")
	lab.tell([]step{
		{user: "bob", line: "node wait pc-1", stdout: "pc-1 is up\n"},
		{
			user: "bob", line: "node reboot --hard pc-1", status: StatusFailed,
			stderr: "walt: could not reboot pc-1: there is no memory for it\n  try again with: node reboot pc-1 --hard\n",
		},
		{
			user: "bob", line: "node boot pc-1 default", status: StatusFailed,
			stdout: "pc-1 is free and boots its default image at its next start: the reboot failed, there is no memory for it\n",
			stderr: "walt: could not reboot pc-1: there is no memory for it\n  try again with: node reboot pc-1\n",
		},
	})
}

func TestOutdatedClone(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "image show")
	lab.addImage(images.Image{Ref: images.DefaultRef("rpi-3-b"), Models: []images.Model{"rpi-3-b"}, Digest: "sha256:" + strings.Repeat("1", 64)})
	lab.tell([]step{{
		user: "bob", line: "node acquire rpi-1", stdout: "rpi-1" + mineAndReboot,
		stderr: "You already have an image rpi-3-b-default; it is used unchanged. It differs from the default image.\n" +
			"A fresh clone: image clone --force walt:waltplatform/rpi-3-b-default rpi-3-b-default\n",
	}})
}

func TestAcquireAny(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-1")
	lab.tell([]step{
		{
			user: "bob", line: "node acquire --any 1 --model rpi-3-b", stdout: "rpi-2" + mineAndReboot,
			stderr: "Cloned the default image into your working set as rpi-3-b-default.\n",
		},
		{
			user: "bob", line: "node acquire --any 2 --model rpi-3-b --yes", status: StatusInUse,
			stderr: "walt: only 1 of the 2 rpi-3-b nodes wanted is free; nothing changed\n" +
				"  wait for them with: node acquire --any 2 --model rpi-3-b --wait\n  see who has the others with: node show --all\n",
		},
		{
			user: "bob", line: "node acquire --any 1 --model rpi-3-c", status: StatusFailed,
			stderr: "walt: unknown model rpi-3-c\n  did you mean rpi-3-b instead of rpi-3-c?\n",
		},
	})
}

func TestNodeTable(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-10")
	lab.ok("carol", "node acquire pc-1")
	lab.pass(90 * time.Minute)
	lab.up("pc-1", "127.0.0.1:4711")
	want := "" +
		"NAME    OWNER   MODEL      TYPE      STATE  IMAGE                         SINCE\n" +
		"rpi-10  you     rpi-3-b    physical  off    rpi-3-b-default               1 hour ago\n" +
		"rpi-1   (free)  rpi-3-b    physical  off    default                       1 hour ago\n" +
		"rpi-2   (free)  rpi-3-b    physical  off    default                       1 hour ago\n" +
		"pc-1    carol   pc-x86-64  virtual   up     walt:carol/pc-x86-64-default  1 hour ago\n"
	if got := lab.ok("bob", "node show --all"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	heading, rest, _ := strings.Cut(want, "\n")
	onTerminal := lab.runIn(t.Context(), lab.narrow(100), "node show -a")
	if want := "\x1b[1m" + heading + "\x1b[0m\n" + rest; onTerminal.stdout != want {
		t.Errorf("on a terminal %q, want %q", onTerminal.stdout, want)
	}
}

// The documents that programs read, to the letter.
func TestNodeDocuments(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-1")
	lab.up("pc-1", "127.0.0.1:4711")
	lab.pass(time.Second)
	const (
		said = `,"job":null,"note":null,"mates":[],"asks":[],"until":null,"while_connected":false,"tags":[],"retired":null,"exposed":[]`
		pc1  = `{"name":"pc-1","model":"pc-x86-64","type":"virtual","host":"simulated","owner":null,"image":"waltplatform/pc-x86-64-default:latest","state":"up","state_reason":null,"ip":"127.0.0.1","mac":"52:54:00:00:01:01","since":"2026-11-22T12:00:00Z","reason":null,"step":"up","step_since":"2026-11-22T12:00:01Z","running":{"image":"waltplatform/pc-x86-64-default:latest","digest":"sha256:000000000000000000000000000000000000000000000000000000000000beef"},"written":null,"switched_off":null` + said + `}`
		rpi  = `{"name":"rpi-1","model":"rpi-3-b","type":"physical","host":"physical","owner":"bob","image":"bob/rpi-3-b-default:latest","state":"off","state_reason":null,"ip":null,"mac":"52:54:00:00:00:01","since":"2026-11-22T12:00:01Z","reason":null,"step":null,"step_since":null,"running":null,"written":null,"switched_off":null` + said + `}`
	)
	lab.tell([]step{
		{user: "bob", line: "node show --json", stdout: `{"nodes":[]}` + "\n"},
		{
			user: "bob", line: "node acquire rpi-1 --yes --json",
			stdout: `{"cloned":["bob/rpi-3-b-default:latest"],"nodes":[{"name":"rpi-1","owner":"bob","image":"bob/rpi-3-b-default:latest","previous_owner":"carol","changed":true,"reboot":"none","reboot_reason":null}]}` + "\n",
		},
		{user: "bob", line: "node show --json", stdout: `{"nodes":[` + rpi + "]}\n"},
		{
			user: "bob", line: "node boot rpi-1 rpi-3-b-default --json",
			stdout: `{"cloned":[],"nodes":[{"name":"rpi-1","owner":"bob","image":"bob/rpi-3-b-default:latest","previous_owner":"bob","changed":false,"reboot":"skipped","reboot_reason":null}]}` + "\n",
		},
		{
			user: "bob", line: "node release my-nodes --json",
			stdout: `{"cloned":[],"nodes":[{"name":"rpi-1","owner":null,"image":"waltplatform/rpi-3-b-default:latest","previous_owner":"bob","changed":true,"reboot":"none","reboot_reason":null}]}` + "\n",
		},
		{user: "bob", line: "node release my-nodes --json", stdout: `{"cloned":[],"nodes":[]}` + "\n"},
		{
			user: "bob", line: "node acquire pc-1 --json",
			stdout: `{"cloned":["bob/pc-x86-64-default:latest"],"nodes":[{"name":"pc-1","owner":"bob","image":"bob/pc-x86-64-default:latest","previous_owner":null,"changed":true,"reboot":"ok","reboot_reason":null}]}` + "\n",
		},
	})
	lab.ok("bob", "node release pc-1")
	lab.up("pc-1", "127.0.0.1:4711")
	if got := lab.ok("bob", "node show --json --all"); !strings.HasPrefix(got, `{"nodes":[`+strings.Replace(pc1, "12:00:00Z", "12:00:01Z", 1)+",") {
		t.Errorf("got %s", got)
	}
}

func TestVirtualNodes(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{
			user: "bob", line: "node create n1", stdout: "n1 is yours and boots pc-x86-64-default: starting\n",
			stderr: "Cloned the default image into your working set as pc-x86-64-default.\n",
		},
		{user: "bob", line: "node rename n1 n2", stdout: "n1 is now called n2\n"},
		{
			user: "bob", line: "node rename n2 rpi-1", status: StatusFailed,
			stderr: "walt: there is a device rpi-1 already\n  choose another name\n",
		},
		{user: "bob", line: "device forget n2", status: StatusFailed, stderr: "walt: n2 is a virtual node; nothing changed\n  remove it with: node remove n2\n"},
		{user: "bob", line: "node remove rpi-1", status: StatusFailed, stderr: "walt: rpi-1 is not a virtual node; nothing changed\n  forget it with: device forget rpi-1\n"},
		{user: "bob", line: "node remove n2", stdout: "n2 removed\n"},
		{
			user: "bob", line: "node create n3 --simulated --cpus none", status: StatusUsage,
			stderr: "walt: cpu.cores cannot be \"none\"; nothing changed\n  allowed: 1 to 256\n",
		},
		{user: "bob", line: "node create n3 --simulated --ram 1G --cpus 2", stdout: "n3 is yours and boots pc-x86-64-default: starting\n"},
		{user: "bob", line: "node config n3 ram cpu.cores", stdout: "NAME  SETTING    VALUE\nn3    ram        1024M\nn3    cpu.cores  2\n"},
		{user: "bob", line: "node remove n3", stdout: "n3 removed\n"},
		{user: "bob", line: "device forget rpi-1,rpi-2", stdout: "rpi-1 forgotten\nrpi-2 forgotten\n"},
		{user: "bob", line: "node show --all --names-only", stdout: "pc-1\nrpi-10\n"},
	})
}

func TestOffAndOn(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,pc-1")
	lab.up("pc-1", "127.0.0.1:4711")
	lab.tell([]step{
		{
			user: "bob", line: "node off my-nodes", status: StatusFailed, stdout: "pc-1 is off\n",
			stderr: "walt: the server has no means to switch rpi-1 off\n  it switches virtual nodes, and those whose port or outlets it may switch (see: help show power)\n",
		},
		{user: "bob", line: "node off pc-1", stdout: "pc-1 is already off\n"},
		{
			user: "bob", line: "node show", stdout: "NAME   OWNER  MODEL      TYPE      STATE  IMAGE              SINCE\n" +
				"pc-1   you    pc-x86-64  virtual   off    pc-x86-64-default  just now\nrpi-1  you    rpi-3-b    physical  off    rpi-3-b-default    just now\n",
			stderr: "pc-1 is off: bob switched it off at 2026-11-22 12:00 UTC.\n",
		},
		{
			user: "bob", line: "node run pc-1 true", status: StatusFailed,
			stderr: "walt: pc-1 is off: bob switched it off at 2026-11-22 12:00 UTC\n  switch it on with: node on pc-1\n",
		},
		{
			user: "carol", line: "node on pc-1 --no-input", status: StatusInUse,
			stderr: "pc-1 belongs to bob since 2026-11-22 12:00 UTC (just now); bob is not connected.\n" +
				"walt: not confirmed; nothing changed\n  --no-input never asks; --yes answers in advance (see: help show node-ownership)\n",
		},
		{user: "carol", line: "node on pc-1 --yes", stdout: "pc-1 is on\n"},
		{user: "carol", line: "node off pc-1 --hard --yes", stdout: "pc-1 is off\n"},
		{user: "bob", line: "node boot pc-1 pc-x86-64-default", stdout: "pc-1 is yours and boots pc-x86-64-default: starting\n"},
	})
	if got := lab.ok("bob", "node show pc-1 --json"); !strings.Contains(got, `"switched_off":null`) {
		t.Errorf("after it was booted: %s", got)
	}
	lab.ok("bob", "node off pc-1")
	if got := lab.ok("bob", "node show pc-1 --json"); !strings.Contains(got, `"state":"off"`) || !strings.Contains(got, `"switched_off":{"by":"bob","since":"2026-11-22T12:00`) {
		t.Errorf("got %s", got)
	}
	lab.rack.refuses = fault.Failedf("there is no memory for it")
	lab.tell([]step{
		{user: "bob", line: "power show", stdout: "SWITCH  PORT  NODE  POWER  STATE  SINCE     TROUBLE\n-       -     pc-1  off    off    just now\nSaved so far: 0.0 port-hours\n"},
		{
			user: "bob", line: "power show pc-1 --json",
			stdout: `{"ports":[{"switch":null,"port":null,"port_name":null,"node":"pc-1","power":"off","since":"2026-11-22T12:00:00Z","error":null,"state":"off","state_reason":null,"last_error":null,"last_error_at":null}],"saved_port_hours":0}` + "\n",
		},
		{
			user: "bob", line: "node on pc-1", status: StatusFailed,
			stderr: "walt: could not switch on pc-1: there is no memory for it\n  see what it is doing with: node show pc-1\n",
		},
	})
	lab.rack.refuses = nil
	change := func(name, image, how string) string {
		return fmt.Sprintf(`{"name":"%s","owner":"bob","image":"bob/%s-default:latest","previous_owner":"bob","changed":false,"reboot":"%s","reboot_reason":null}`, name, image, how)
	}
	means := "the server has no means to "
	lab.tell([]step{
		{
			user: "bob", line: "node off pc-1,rpi-1 --json", status: StatusFailed,
			stdout: `{"cloned":[],"nodes":[` + change("pc-1", "pc-x86-64", "ok") + "," + change("rpi-1", "rpi-3-b", "none") + "]}\n",
			stderr: "walt: " + means + "switch rpi-1 off\n  it switches virtual nodes, and those whose port or outlets it may switch (see: help show power)\n",
		},
		{user: "bob", line: "node off pc-1 --json", stdout: `{"cloned":[],"nodes":[` + change("pc-1", "pc-x86-64", "skipped") + "]}\n"},
		{user: "bob", line: "node on pc-1 --json", stdout: `{"cloned":[],"nodes":[` + change("pc-1", "pc-x86-64", "ok") + "]}\n"},
		{
			user: "bob", line: "node reboot my-nodes --json", status: StatusFailed,
			stdout: `{"cloned":[],"nodes":[` + change("pc-1", "pc-x86-64", "ok") + "," + change("rpi-1", "rpi-3-b", "none") + "]}\n",
			stderr: "walt: " + means + "reboot rpi-1\n  switch it off and on by hand: a node boots its image at every start\n",
		},
	})
	lab.nodes.Up("rpi-1", "127.0.0.1:4711")
	if got := lab.ok("bob", "node on rpi-1"); got != "rpi-1 is already on\n" {
		t.Errorf("of one that is up: %s", got)
	}
}

// A previous owner is told: at the next login, or in an open shell.
func TestNotices(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "node acquire rpi-1,rpi-2")
	lab.ok("carol", "node acquire rpi-1 --yes")
	var stderr strings.Builder
	s := lab.session("bob", "")
	s.Err = &stderr
	lab.app.Welcome(t.Context(), s)
	lab.app.Welcome(t.Context(), s)
	if want := "walt: carol took your node rpi-1\n"; stderr.String() != want {
		t.Errorf("at the next login: %q, want %q once", stderr.String(), want)
	}
}
