package commands

import (
	"context"
	"strings"
	"testing"
	"time"

	"walt/images"
	"walt/nodes"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.up("pc-1", "127.0.0.1:4711")
	lab.tell([]step{
		{
			user: "bob", line: "device show",
			stdout: "NAME    TYPE    MODEL      MAC                IP         SWITCH  PORT  STATE\n" +
				"server  server  -          -                  192.0.2.1  -       -     up\n" +
				"pc-1    node    pc-x86-64  52:54:00:00:01:01  127.0.0.1  -       -     up\n" +
				"rpi-1   node    rpi-3-b    52:54:00:00:00:01  -          -       -     off\n" +
				"rpi-2   node    rpi-3-b    52:54:00:00:00:02  -          -       -     off\n" +
				"rpi-10  node    rpi-3-b    52:54:00:00:00:10  -          -       -     off\n",
		},
		{
			user: "bob", line: "device add thing --mac 52-54-00-00-00-77",
			stdout: "thing is registered; it stays unknown until its model is told: device config thing model=MODEL\n",
			stderr: "If it is a switch: device config thing type=switch (see: help show power)\n",
		},
		{user: "bob", line: "device show thing --json", stdout: `{"devices":[{"name":"thing","type":"unknown","model":null,"mac":"52:54:00:00:00:77","ip":null,"state":"no model known","state_reason":null,"switch":null,"port":null,"port_name":null,"step":null,"step_since":null,"reports_itself_as":null,"tags":[],"retired":null}]}` + "\n"},
		{user: "bob", line: "node acquire thing", status: StatusFailed, stderr: "walt: not a node: thing\n  see what each device is with: device show\n"},
		{user: "bob", line: "device add thing --mac 52:54:00:00:00:77 --model rpi-3-b", stdout: "thing is a free node and boots waltplatform/rpi-3-b-default\n"},
		{
			user: "bob", line: "device add other --mac 52:54:00:00:00:77", status: StatusFailed,
			stderr: "walt: 52:54:00:00:00:77 is the MAC address of thing already\n  to give that device another name: device rename thing other\n",
		},
		{user: "bob", line: "device rename thing rpi-3", stdout: "thing is now called rpi-3\n"},
		{user: "bob", line: "device show server,rpi-3 --names-only", stdout: "server\nrpi-3\n"},
		{
			user: "bob", line: "device show server --json",
			stdout: `{"devices":[{"name":"server","type":"server","model":null,"mac":null,"ip":"192.0.2.1","state":"up","state_reason":null,"switch":null,"port":null,"port_name":null,"step":null,"step_since":null,"reports_itself_as":null,"tags":[],"retired":null}]}` + "\n",
		},
		{
			user: "bob", line: "device show all-switches", status: StatusFailed,
			stderr: "walt: the set \"all-switches\" is empty\n  see all devices with: device show\n",
		},
	})
}

// A device whose default image is not here waits for it, and shows how that goes.
func TestDeviceThatWaits(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{{
		user: "bob", line: "device add esp-1 --mac 52:54:00:00:00:77 --model esp-32",
		stdout: "esp-1 becomes a free node when waltplatform/esp-32-default is here: the download goes on in the background (see: device show)\n",
	}})
	if got := lab.ok("bob", "device show esp-1"); !strings.HasSuffix(got, "downloading waltplatform/esp-32-default: about to begin\n") {
		t.Errorf("before the first try: %s", got)
	}
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- lab.app.Images.Run(ctx) }()
	for !strings.Contains(lab.ok("bob", "log show"), "try 1 failed") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	lab.pass(20 * time.Second)
	got := lab.ok("bob", "device show esp-1")
	if !strings.HasSuffix(got, "download of waltplatform/esp-32-default: failed 1 time, next try in 41s (see: advanced jobs)\n") {
		t.Errorf("after it: %s", got)
	}
	if got := lab.run("bob", "image show", "").stderr; !strings.Contains(got, "waltplatform/esp-32-default: failed 1 time, next try in 41s") {
		t.Errorf("beside the images: %s", got)
	}
	lab.testJobs()
	if got := lab.ok("bob", "device show esp-1"); !strings.HasSuffix(got, ": about to begin (see: advanced jobs)\n") {
		t.Errorf("when it is retried: %s", got)
	}
}

// What is wrong on the network of boards and PCs stands below all devices, while it is so.
func TestTroublesOfTheNetwork(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	const text = "another DHCP server answers: 192.168.7.2"
	lab.nodes.Troubled(t.Context(), "dhcp", nodes.Trouble{Text: text})
	if got := lab.run("bob", "device show", "").stderr; !strings.HasSuffix(got, "Network: "+text+".\n") {
		t.Errorf("it is told %q", got)
	}
	lab.tell([]step{
		{user: "bob", line: "log show --type network", stdout: "2026-11-22 12:00:00 network server: " + text + "\n"},
		{
			user: "bob", line: "device show server --json",
			stdout: `{"devices":[{"name":"server","type":"server","model":null,"mac":null,"ip":"192.0.2.1","state":"up","state_reason":"` + text + `","switch":null,"port":null,"port_name":null,"step":null,"step_since":null,"reports_itself_as":null,"tags":[],"retired":null}]}` + "\n",
		},
	})
	if got := lab.run("bob", "device show rpi-1", "").stderr; strings.Contains(got, text) {
		t.Errorf("of another device it is told %q", got)
	}
	lab.nodes.Calmed("dhcp")
	if got := lab.run("bob", "device show", "").stderr; strings.Contains(got, text) {
		t.Errorf("when it is over it is told %q", got)
	}
}

// A board that says that it is of another model is told about below the table.
func TestDeviceThatReportsItself(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	if err := lab.nodes.Itself(t.Context(), "rpi-1", "rpi-400"); err != nil {
		t.Fatal(err)
	}
	got := lab.run("bob", "device show rpi-1", "")
	if got.stderr != "rpi-1, a rpi-3-b, reports itself as rpi-400.\n" {
		t.Errorf("it is told %+v", got)
	}
	if got := lab.run("bob", "device show rpi-1 --json", ""); !strings.Contains(got.stdout, `"reports_itself_as":"rpi-400",`) {
		t.Errorf("for programs it is %+v", got)
	}
}

// A free node that waits for another default image is told about below the table, with how
// that goes.
func TestNodeThatBecomesAnother(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "bob", line: "device config rpi-1 model=rpi-400", stdout: "rpi-1 becomes a rpi-400 when waltplatform/rpi-400-default is here, if it is free then: the download goes on in the background (see: device show)\n"},
		{user: "bob", line: "device config rpi-1 model", stdout: "NAME   SETTING  VALUE\nrpi-1  model    rpi-3-b (becomes rpi-400 when waltplatform/rpi-400-default is here)\n"},
	})
	const want = "rpi-1, a rpi-3-b, becomes a rpi-400 if it is free when that is here; downloading waltplatform/rpi-400-default: "
	if got := lab.run("bob", "device show rpi-1", ""); strings.Count(got.stderr, want) != 1 {
		t.Errorf("it is told %+v", got)
	}
	if got := lab.run("bob", "device show rpi-1 --json", ""); !strings.Contains(got.stdout, `"reports_itself_as":null,"becomes":"rpi-400",`) {
		t.Errorf("for programs it is %+v", got)
	}
}

// A device whose model is told is a free node, or becomes one.
func TestModelOfDevices(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	_, err := lab.nodes.Met(t.Context(), nodes.Arrival{MAC: "52:54:00:00:00:77", Arch: nodes.X86, Host: "thing"})
	lab.must(err)
	_, err = lab.nodes.Met(t.Context(), nodes.Arrival{MAC: "52:54:00:00:00:78", Host: "other"})
	lab.must(err)
	lab.nodes.Platforms = images.KnownPlatforms().Of
	if got := lab.ok("bob", "device show thing"); !strings.HasSuffix(got, " no model known, firmware of PCs (x86)\n") {
		t.Errorf("before, it is shown as %q", got)
	}
	lab.tell([]step{
		{user: "bob", line: "device config thing model=x_86", status: StatusUsage, stderr: "walt: invalid model \"x_86\"\n  a model is 1 to 54 lower-case letters, digits or -, as in rpi-3-b or pc-x86-64\n"},
		{
			user: "bob", line: "device config thing model=rpi-3-b", status: StatusFailed,
			stderr: "walt: thing cannot be a rpi-3-b, which runs linux/arm64, linux/arm/v7, linux/arm/v6, linux/arm/v5: its firmware is one of PCs (x86); nothing changed\n" +
				"  see what is known of it with: device show thing\n",
		},
		{user: "bob", line: "device config thing model=pc-x86-64", stdout: "thing is a free node and boots waltplatform/pc-x86-64-default\n"},
		{user: "bob", line: "device config thing model", stdout: "NAME   SETTING  VALUE\nthing  model    pc-x86-64\n"},
		{
			user: "bob", line: "device config other model=rpi-5-b",
			stdout: "other becomes a free node when waltplatform/rpi-5-b-default is here: the download goes on in the background (see: device show)\n",
		},
		{user: "carol", line: "log show --type registration --issuers thing --history 1s", stdout: "2026-11-22 12:00:00 registration server thing: unknown, 52:54:00:00:00:77\n" +
			"2026-11-22 12:00:00 registration bob thing: configured: model=pc-x86-64\n" +
			"2026-11-22 12:00:00 registration bob thing: node pc-x86-64\n"},
	})
}

// All devices whose model nobody knows are forgotten at once, and no others.
func TestForgetUnknown(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("bob", "device add thing-1 --mac 52:54:00:00:00:77")
	lab.ok("bob", "device add thing-10 --mac 52:54:00:00:00:78")
	lab.ok("bob", "device add thing-2 --mac 52:54:00:00:00:79")
	lab.ok("bob", "device add later --mac 52:54:00:00:00:80 --model rpi-5-b")
	before := lab.ok("bob", "device show --names-only")
	if out := lab.ok("bob", "device forget --unknown"); out != "thing-1 forgotten\nthing-2 forgotten\nthing-10 forgotten\n" {
		t.Errorf("it says %q", out)
	}
	want := strings.NewReplacer("thing-1\n", "", "thing-2\n", "", "thing-10\n", "").Replace(before)
	if after := lab.ok("bob", "device show --names-only"); after != want {
		t.Errorf("left are %q, want %q", after, want)
	}
	usage := "  usage: device forget [--yes] [--no-input] [--unknown] [SET]\n"
	lab.tell([]step{
		{user: "bob", line: "device forget --unknown", stderr: "All devices are known.\n"},
		{user: "bob", line: "device forget", status: StatusUsage, stderr: "walt: device forget: SET is missing\n" + usage},
		{user: "bob", line: "device forget rpi-1 --unknown", status: StatusUsage, stderr: "walt: device forget: SET or --unknown, not both\n" + usage},
	})
}
