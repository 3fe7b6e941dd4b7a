package commands

import (
	"strings"
	"testing"
)

func TestTags(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.tell([]step{
		{user: "bob", line: "device tag rpi-1,rpi-2 LoRa rack-3", stdout: "rpi-1, rpi-2 have the tags lora, rack-3\n"},
		{user: "carol", line: "device untag rpi-*,pc-1 lora,rack-3", stdout: "pc-1, rpi-1, rpi-2, rpi-10 have no tags\n"},
		{user: "bob", line: "device tag rpi-1 lora", stdout: "rpi-1 has the tag lora\n"},
		{user: "bob", line: "device tag rpi-1,rpi-10 gps", stdout: "rpi-1 has the tags gps, lora\nrpi-10 has the tag gps\n"},
		{user: "bob", line: "node show tag:gps+not:tag:lora --names-only", stdout: "rpi-10\n"},
		{
			user: "bob", line: "device show rpi-1",
			stdout: "NAME   TYPE  MODEL    MAC                IP  SWITCH  PORT  STATE\nrpi-1  node  rpi-3-b  52:54:00:00:00:01  -   -       -     off\n",
			stderr: "Tags: gps, lora.\n",
		},
		{
			user: "bob", line: "device untag rpi-1 lara", status: StatusFailed,
			stderr: "walt: unknown tag lara\n  did you mean lora instead of lara?\n",
		},
		{
			user: "bob", line: "device untag rpi-1 indoors", status: StatusFailed,
			stderr: "walt: unknown tag indoors\n  the tags are gps, lora\n",
		},
		{
			user: "bob", line: "node acquire --any 1 lora", status: StatusFailed,
			stderr: "walt: unknown node lora\n  see all devices with: device show\n  did you mean tag:lora instead of lora?\n",
		},
		{
			user: "bob", line: "node acquire --any 2 rpi-3-b,carol,off", status: StatusFailed,
			stderr: "walt: unknown nodes rpi-3-b, carol, off\n  see all devices with: device show\n" +
				"  did you mean model:rpi-3-b instead of rpi-3-b?\n  did you mean user:carol instead of carol?\n  did you mean state:off instead of off?\n",
		},
		{user: "bob", line: "device tag rpi-10 gps, lora,", stdout: "rpi-10 has the tags gps, lora\n"},
		{user: "bob", line: "device untag rpi-10 lora", stdout: "rpi-10 has the tag gps\n"},
		{
			user: "bob", line: "device tag rpi-1 ,", status: StatusUsage,
			stderr: "walt: device tag: TAG is missing\n  usage: device tag SET TAG...\n",
		},
		{
			user: "bob", line: "device tag rpi-1 tag:lora", status: StatusUsage,
			stderr: "walt: invalid tag \"tag:lora\"\n  a tag is 1 to 40 letters, digits, ., _ or -, first a letter or a digit, as in lora or rack-3\n",
		},
		{
			user: "bob", line: "device tag server x", status: StatusFailed,
			stderr: "walt: not possible with: server\n  see what each device is with: device show\n",
		},
		{
			user: "bob", line: "device tag rpi-1", status: StatusUsage,
			stderr: "walt: device tag: TAG is missing\n  usage: device tag SET TAG...\n",
		},
		{user: "bob", line: "log show --issuers tag:lora,pc-1 --type registration -n 2", stdout: "2026-11-22 12:00:00 registration bob rpi-1: tagged lora\n2026-11-22 12:00:00 registration bob rpi-1: tagged gps\n"},
	})
	for _, want := range []string{`"tags":["gps","lora"],"retired":null`} {
		for _, line := range []string{"node show rpi-1 --json", "device show rpi-1 --json"} {
			if got := lab.ok("bob", line); !strings.Contains(got, want) {
				t.Errorf("%s: %s", line, got)
			}
		}
	}
	if got := lab.ok("bob", "node show rpi-1"); !strings.Contains(got, "\ntags  gps, lora\n") {
		t.Errorf("the tags of rpi-1: %s", got)
	}
}

func TestRetired(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.ok("carol", "node acquire rpi-2")
	const by = "by bob, 2026-11-22 12:00 UTC"
	lab.tell([]step{
		{user: "bob", line: "node retire rpi-1 the fan is loud", stdout: "rpi-1 is out of service until: node return rpi-1\n"},
		{
			user: "bob", line: "node retire rpi-2 --yes", status: StatusUsage,
			stderr: "walt: node retire: --yes is behind TEXT, which takes the rest of the line\n" +
				"  options go before SET; if that is meant as text, put -- before SET\n  usage: node retire [--yes] [--no-input] SET [TEXT...]\n",
		},
		{
			user: "bob", line: "node retire rpi-2", status: StatusInUse,
			stderr: "rpi-2 belongs to carol since 2026-11-22 12:00 UTC (just now); carol is not connected.\n" +
				"Retire rpi-2 anyway? [y/N] \nwalt: not confirmed; nothing changed\n  no answer came; --yes answers in advance\n",
		},
		{user: "bob", line: "node retire --yes rpi-2,rpi-10", stdout: "rpi-2, rpi-10 are out of service until: node return rpi-2,rpi-10\n"},
		{
			user: "bob", line: "node show model:rpi-3-b",
			stdout: "NAME    OWNER   MODEL    TYPE      STATE         IMAGE                       SINCE\n" +
				"rpi-1   (free)  rpi-3-b  physical  off, retired  default                     just now\n" +
				"rpi-10  (free)  rpi-3-b  physical  off, retired  default                     just now\n" +
				"rpi-2   carol   rpi-3-b  physical  off, retired  walt:carol/rpi-3-b-default  just now\n",
			stderr: "rpi-1 is retired " + by + ": the fan is loud.\nrpi-10 is retired " + by + ".\nrpi-2 is retired " + by + ".\n",
		},
		{
			user: "bob", line: "node acquire --any 1 model:rpi-3-b", status: StatusInUse,
			stderr: "walt: no node of model:rpi-3-b is free, besides 2 out of service; nothing changed\n  wait for them with: node acquire --any 1 model:rpi-3-b --wait\n  see who has the others with: node show --all\n",
		},
		{
			user: "bob", line: "node acquire rpi-1", stdout: "rpi-1" + mineAndReboot,
			stderr: "rpi-1 was taken out of service " + by + ": the fan is loud.\nCloned the default image into your working set as rpi-3-b-default.\n",
		},
		{user: "bob", line: "node release rpi-1", stdout: "rpi-1 is free and boots its default image at its next start: the server has no means to reboot it\n"},
		{user: "bob", line: "node return rpi-1,pc-1", stdout: "rpi-1 is in service again\n"},
		{user: "bob", line: "node return rpi-1", stderr: "Nothing of rpi-1 is out of service.\n"},
		{user: "bob", line: "node acquire --any 1 rpi-*", stdout: "rpi-1" + mineAndReboot},
		{
			user: "bob", line: "node retire rpi-1 " + strings.Repeat("x", 81), status: StatusUsage,
			stderr: "walt: the text has 81 characters, of which 80 are possible\n  say it shorter\n",
		},
		{user: "bob", line: "node retire my-nodes", stdout: "rpi-1 is out of service until: node return rpi-1\n"},
		{user: "bob", line: "node retire server", status: StatusFailed, stderr: "walt: not a node: server\n  see what each device is with: device show\n"},
	})
	if got := lab.ok("bob", "node show rpi-2"); !strings.Contains(got, "\nretired  "+by+"\n") {
		t.Errorf("of rpi-2: %s", got)
	}
	if got := lab.ok("carol", "node show --json"); !strings.Contains(got, `"retired":{"by":"bob","since":"2026-11-22T12:00:00Z","reason":null}`) {
		t.Errorf("of rpi-2: %s", got)
	}
}
