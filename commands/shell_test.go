package commands

import (
	"strings"
	"testing"
)

// What people know from elsewhere does the same as the command of this server.
func TestOtherWords(t *testing.T) {
	t.Parallel()
	for other, path := range map[string]string{
		"node list": "node show", "node ls": "node show", "node deploy": "node boot", "node rm": "node remove", "node mv": "node rename",
		"image list": "image show", "image ls": "image show", "image rm": "image remove", "image pull": "image clone",
		"image push": "image publish", "image cp": "image duplicate", "image mv": "image rename",
		"device ls": "device show", "device rm": "device forget", "user ls": "user show", "user delete": "user remove",
		"?": "help", "quit": "exit", "logout": "exit",
	} {
		app := New(Services{})
		cmd, rest, ok := app.lookup(strings.Fields("walt " + other + " x")[1:])
		if !ok || cmd.Path != path || len(rest) != 1 {
			t.Errorf("%s is %q, %q; want %s", other, cmd.Path, rest, path)
		}
	}
	lab := newTestLab(t)
	lab.ok("bob", "node acquire pc-1")
	for other, line := range map[string]string{
		"node list --all --json": "node show --all --json", "walt image ls": "image show", "?": "help", "? ci": "help ci", "node ?": "node --help",
		"node ls --help": "node show --help", "help image rm": "help image remove", "device list": "device show",
	} {
		if got, want := lab.ok("bob", other), lab.ok("bob", line); got != want {
			t.Errorf("%s:\n%s\nis not %s:\n%s", other, got, line, want)
		}
	}
	if got := lab.ok("bob", "node show --help"); !strings.Contains(got, "\nAlso: node list, node ls\n") {
		t.Errorf("node show --help:\n%s", got)
	}
	lab.tell([]step{
		{user: "bob", line: "node deploy pc-1 default --yes", stdout: "pc-1 is free and boots its default image: rebooting\n"},
		{user: "bob", line: "image rm pc-x86-64-default", stdout: "pc-x86-64-default is removed\n"},
		{user: "bob", line: "ls", status: StatusUsage, stderr: "walt: unknown command \"ls\"\n  your nodes: node show\n  your images: image show\n"},
		{user: "bob", line: "ls -l", status: StatusUsage, stderr: "walt: unknown command \"ls\"\n  your nodes: node show\n  your images: image show\n"},
		{
			user: "bob", line: "node status", status: StatusUsage,
			stderr: "walt: unknown command \"node status\"\n  your nodes, with their states: node show\n  all nodes: node show --all\n  more of one: node show NODE\n",
		},
		{
			user: "bob", line: "node log pc-1", status: StatusUsage,
			stderr: "walt: unknown command \"node log\"\n  what happened in the lab: log show\n  what happened to some nodes: log show --issuers SET\n",
		},
		{
			user: "bob", line: "info", status: StatusUsage,
			stderr: "walt: unknown command \"info\"\n  see what there is with: help\n",
		},
		{
			user: "bob", line: "help history", status: StatusUsage,
			stderr: "walt: unknown command \"history\"\n  what you typed comes back with the Up key\n  what happened in the lab: log show\n",
		},
		{
			user: "bob", line: "deploy pc-1 default", status: StatusUsage,
			stderr: "walt: unknown command \"deploy\"\n  did you mean node boot?\n" + lab.app.usageOf("node boot"),
		},
		{
			user: "bob", line: "mv a b", status: StatusUsage,
			stderr: "walt: unknown command \"mv\"\n  did you mean node rename or image rename or device rename?\n  usage: node rename [--yes] [--no-input] OLD NEW\n",
		},
		{user: "bob", line: "version", stdout: "waltd 1.2\n"},
		{user: "bob", line: "clear"},
		{user: "bob", line: "exit"},
	})
	if got := lab.runIn(t.Context(), lab.terminal("bob"), "clear"); got != (answer{stdout: "(cleared)"}) {
		t.Errorf("clear: %+v", got)
	}
	dumb := lab.terminal("bob")
	dumb.Terminal.Name = "dumb"
	if got := lab.runIn(t.Context(), dumb, "clear"); got != (answer{stderr: "A terminal of the type dumb cannot be cleared.\n"}) {
		t.Errorf("clear on a dumb terminal: %+v", got)
	}
}

func TestLeaves(t *testing.T) {
	t.Parallel()
	app := New(Services{})
	for line, want := range map[string]bool{
		"exit": true, "quit": true, "logout": true, "walt exit": true, "'exit'  # now": true,
		"exit 1": false, "exit --help": false, "node show": false, "": false, "exi": false, `exit "`: false,
	} {
		if got := app.Leaves(line); got != want {
			t.Errorf("%q leaves: %v", line, got)
		}
	}
}
