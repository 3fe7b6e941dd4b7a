package commands

import (
	"context"
	"slices"
)

var (
	setArg = Arg{Name: "SET", Complete: completeSet}
	ownArg = Arg{Name: setArg.Name, Complete: completeOwn}
)

// nodeCommands is all that users can do with nodes. What each does is in a file
// named after that: node_show.go, node_ownership.go (acquire, release, boot, create),
// node_reboot.go (and wait), node_power.go (off, on), node_retired.go (and return), node_run.go (and shell), node_console.go, node_ping.go (and blink).
func nodeCommands() []Command {
	nodeArg := Arg{Name: "NODE", Complete: completeNode}
	confirms := []Flag{yesFlag, noInputFlag}
	changes := []Flag{yesFlag, noInputFlag, namesFlag, jsonFlag}
	takes := slices.Concat(remarkFlags, changes)
	return []Command{{
		Path: "node show", Also: []string{"node list", "node ls"}, Short: "show your nodes, or all", Topic: "node-ownership",
		Long: `Shows the nodes that boot your images, or those of the set. With --all, the free
nodes and those of others follow; the image of a node of somebody else is shown
as a link that "image clone" takes. --free, and --owner with a user, look among
all nodes. Several options show the nodes that all of them mean; a model, a
state and a user may be several, joined by commas. Of one node that is named,
more is told: what runs there, and how far its boot is.`,
		Args:  []Arg{{Name: "SET", Optional: true, Complete: completeSet}},
		Flags: slices.Concat([]Flag{{Name: "all", Short: "a", Usage: "show those of others and free ones too"}}, whichFlags, []Flag{namesFlag, jsonFlag}),
		Run:   nodeShow,
	}, {
		Path: "node acquire", Short: "take nodes", Topic: "node-ownership",
		Long: `Makes nodes yours: your clone of their default image is made, unless you have
one, and they reboot on it. Nodes of others are taken only after you confirmed
it. All nodes of the set are taken, or none. --any takes free nodes only, of a
set or of all: those that are up first, then those that the server can start,
and of these the ones that were used the longest ago; when too few are free it
ends with status 3.

With --wait it waits instead, and asks nobody: who waits is served in the order
of arrival, as soon as nodes become free (see: help show sharing).`,
		Args: []Arg{{Name: "SET", Optional: true, Complete: completeOthers}},
		Flags: append([]Flag{
			{Name: "any", Value: "N", Usage: "take N free nodes, of SET or of all"},
			{Name: "model", Value: "MODEL", Usage: "with --any: of this model", Complete: completeModel},
			{Name: "wait", Usage: "wait until they are available, in the order of arrival"},
			timeoutFlag,
		}, takes...),
		Run: nodeAcquire,
	}, {
		Path: "node queue", Short: "show who waits for nodes", Topic: "sharing",
		Long: `Shows those who wait for nodes with "node acquire --wait", in the order of their
arrival. POS is 1 where nobody waits before who wants any of the same nodes.`,
		Flags: []Flag{jsonFlag}, Run: nodeQueue,
	}, {
		Path: "node queue cancel", Short: "end the waiting for nodes", Topic: "sharing",
		Long: `Ends what is waiting under this ID of "node queue". It is one's own; an
administrator ends that of others, and is asked.`,
		Args: []Arg{{Name: "ID", Complete: completeWish}}, Flags: confirms,
		Run: nodeQueueCancel,
	}, {
		Path: "node release", Short: "give nodes back", Topic: "node-ownership",
		Long: `Makes nodes of yours free: they reboot on their default image. The images that
they booted stay in your working set. "node release my-nodes" is fine when you
have none. Very many, more than 10,000, may become free in several steps; what
ends that in between says how to go on.`,
		Args: []Arg{ownArg}, Flags: changes,
		Run: nodeRelease,
	}, {
		Path: "node extend", Short: "set anew when your nodes are released", Topic: "sharing",
		Long: `Adds a length of time to the end that the hold of each node has; nodes without
an end keep none. --until sets the end, also an earlier one, and to nodes that
have none. "never", for D or for T, takes the end away.`,
		Args: []Arg{{Name: setArg.Name, Complete: completeOwn}, {Name: "D", Optional: true}},
		Flags: []Flag{
			{Name: "until", Value: "T", Usage: "the server releases them then, as at 18:00, or never"},
			{Name: "while-connected", Usage: "the server releases them when you disconnect"},
			namesFlag, jsonFlag,
		},
		Run: nodeExtend,
	}, {
		Path: "node boot", Also: []string{"node deploy"}, Short: "make nodes boot an image of yours", Topic: "node-ownership",
		Long: `The nodes reboot on an image of your working set, and so are yours; or on their
default image, with the word "default", and so are free. Nodes of others are
taken only after you confirmed it.`,
		Args:  []Arg{setArg, {Name: "IMAGE", Complete: completeBootable}},
		Flags: takes,
		Run:   nodeBoot,
	}, {
		Path: "node note", Short: "note something on nodes of yours, for others", Passes: true, Topic: "sharing",
		Long: `The note is the rest of the line as it is typed, at most 80 characters; options
go before SET. It stands in "node show", and in the question to whoever would
disturb you. Without TEXT there is none any more. It ends when the node is yours
no longer.`,
		Args: []Arg{ownArg, {Name: "TEXT", Optional: true, Many: true}}, Flags: []Flag{jsonFlag},
		Run: nodeNote,
	}, {
		Path: "node share", Short: "have others use nodes of yours without being asked", Topic: "sharing",
		Long: `The users, joined by commas, are not asked before they run something on the
nodes, open a shell there, have them blink or reboot them. It takes the place of
what was said before; all is everybody, none nobody. The nodes stay yours: who
would take them, or have them boot another image, is asked as before.`,
		Args: []Arg{ownArg, {Name: "USER,...", Complete: completeMates}}, Flags: []Flag{jsonFlag},
		Run: nodeShare,
	}, {
		Path: "node ask", Short: "tell the owners of nodes that you would like these", Passes: true, Topic: "sharing",
		Long: `The owner is told once, in open shells or at the next login, and gives you the
node with "node give". TEXT, the rest of the line, says what you need it for, in
at most 80 characters; options go before SET.`,
		Args: []Arg{{Name: setArg.Name, Complete: completeOwned}, {Name: "TEXT", Optional: true, Many: true}}, Flags: []Flag{jsonFlag},
		Run: nodeAsk,
	}, {
		Path: "node give", Short: "hand nodes of yours over to another user", Topic: "sharing",
		Long: `The nodes boot copies of their images that are made for the user, who asked for
them with "node ask". Who did not, and is connected, is told, and has a minute
for it; with --no-input there is no such wait. With --no-reboot the nodes go on
with what they run.`,
		Args: []Arg{ownArg, {Name: "USER", Complete: completeOther}},
		Flags: []Flag{
			{Name: "no-reboot", Usage: "leave what runs on the nodes as it is"},
			noInputFlag, namesFlag, jsonFlag,
		},
		Run: nodeGive,
	}, {
		Path: "node create", Short: "make a virtual node, which is yours at once", Topic: "node-ownership",
		Long: `A virtual node is a machine, a process of QEMU on the server that boots the
kernel of its image, where the server can run machines and the model is
` + string(virtualModel) + `. Else it is simulated: an SSH server with a small shell and the files
of its image. The answer says so when a node is not what others are. Memory and
processors are those of machines (see: help show booting).`,
		Args: []Arg{{Name: "NAME"}},
		Flags: append([]Flag{
			{Name: "model", Value: "MODEL", Usage: "its model (default " + string(virtualModel) + ")", Complete: completeModel},
			{Name: "ram", Value: "SIZE", Usage: "its memory, as in 512M or 2G (default 512M)"},
			{Name: "cpus", Value: "N", Usage: "its processors (default 1)"},
			{Name: "simulated", Usage: "simulate it, though the server can run machines"},
		}, slices.Concat(remarkFlags, []Flag{namesFlag, jsonFlag})...),
		Run: nodeCreate,
	}, {
		Path: "node remove", Also: []string{"node rm", "node delete"}, Short: "remove virtual nodes",
		Args: []Arg{setArg}, Flags: confirms,
		Run: func(ctx context.Context, c *Call) error { return c.removeDevices(ctx, c.Lab.Remove, "removed") },
	}, {
		Path: "node rename", Also: []string{"node mv"}, Short: "give a node another name",
		Long: "A virtual node starts anew under its new name.",
		Args: []Arg{{Name: "OLD", Complete: completeNode}, {Name: "NEW"}}, Flags: confirms,
		Run: renameDevice,
	}, {
		Path: "node reboot", Short: "restart nodes; whose they are stays",
		Args:  []Arg{setArg},
		Flags: append([]Flag{hardFlag, jsonFlag}, confirms...),
		Run:   nodeReboot,
	}, {
		Path: "node off", Short: "switch nodes off; whose they are stays", Topic: "power",
		Long: `The nodes shut down, or with --hard lose their power at once. They stay off,
also over a restart of the server, until somebody switches them on: with "node
on", "node reboot", or an image that they are to boot, as acquire, release and
boot say it.`,
		Args:  []Arg{setArg},
		Flags: append([]Flag{hardFlag, jsonFlag}, confirms...),
		Run:   nodeOff,
	}, {
		Path: "node on", Short: "switch nodes on", Topic: "power",
		Args: []Arg{setArg}, Flags: append([]Flag{jsonFlag}, confirms...),
		Run: nodeOn,
	}, {
		Path: "node retire", Short: "take nodes out of service", Topic: "device-sets", Passes: true,
		Long: `Who wants any node ("node acquire --any") gets none that is out of service; no
image is tried on it, and its power is not saved. Whose it is stays: it can be
taken by its name, and whoever does is told who took it out of service, and why.
That stays so, whoever owns it, until "node return". TEXT is the rest of the
line. Options go before SET.`,
		Args: []Arg{setArg, {Name: "TEXT", Optional: true, Many: true}}, Flags: confirms,
		Run: nodeRetire,
	}, {
		Path: "node return", Short: "have nodes be of service again", Topic: "device-sets",
		Args: []Arg{setArg}, Run: nodeReturn,
	}, {
		Path: "node wait", Short: "wait until nodes are up",
		Long: `Waits until all nodes of the set have reported that they are up on the image
that they should boot. One that cannot boot it ends that at once, with the
reason; the server tries again by itself, as after a boot that takes too long.`,
		Args:  []Arg{setArg},
		Flags: []Flag{timeoutFlag},
		Run:   nodeWait,
	}, {
		Path: "node run", Short: "run a command on nodes", Passes: true,
		Long: `Runs the command, which is the rest of the line as it is typed, on each node as
root. With one node, standard input goes to it and the status is that of the
command; with several, each line of output begins with the name of its node, and
the status is the highest. Options go before SET.`,
		Args: []Arg{setArg, {Name: "COMMAND", Many: true}}, Flags: confirms,
		Run: nodeRun,
	}, {
		Path: "node shell", Short: "open a shell on a node", Args: []Arg{nodeArg}, Flags: confirms,
		Run: nodeShell,
	}, {
		Path: "node console", Short: "sit at the console of a node, also while it boots", Topic: "reaching-nodes",
		Long: `Shows what the node writes on its serial line, beginning with the last 64 KiB,
and has it read what you type, until you leave with Ctrl-]. It goes on while the
node is off or boots, and ends when the node changes hands. One user writes,
others read; once that one has left, the next who types does. Without a
terminal, standard input goes to the node, and its end ends the command.
A BREAK, as for SysRq, is what your ssh sends at ~B behind Enter: to virtual
nodes, and to boards on a serial device of the server or on telnet://.`,
		Args: []Arg{nodeArg},
		Flags: append([]Flag{
			{Name: "read-only", Usage: "only read: what you type goes nowhere, Ctrl-C leaves"},
			{Name: "history", Usage: "print all that is kept since the node is whose it is"},
		}, confirms...),
		Run: nodeConsole,
	}, {
		Path: "node cp", Also: []string{"node copy"}, Short: "copy files from nodes and images to nodes", Topic: "reaching-nodes",
		Long: `Copies files from one node to another, or out of an image of yours to a node:
each is written NAME:PATH, as in rpi-3:/etc/hosts; a PATH without / in front is
in the home of root. To copy from and to your own machine use scp, as in
scp FILE lab:rpi-3:/root/`,
		Args:  []Arg{{Name: "FROM", Complete: completeSource}, {Name: "TO", Complete: completePlace}},
		Flags: append([]Flag{{Name: "recursive", Short: "r", Usage: "copy directories with all that is in them"}}, confirms...),
		Run:   nodeCopy,
	}, {
		Path: "node config", Short: "show or change settings of nodes", Topic: "power",
		Long: `Shows the settings of the nodes, all or those that are named, or gives them the
ones that are named with a value: all of them, or none when one is not allowed.

` + describeSettings(true),
		Args: []Arg{setArg, settingArg(true)}, Flags: append(confirms, jsonFlag),
		Run: func(ctx context.Context, c *Call) error { return c.config(ctx, true) },
	}, {
		Path: "node ping", Short: "see whether nodes answer",
		Long: "Connects to the SSH server of each node, and tells how long that took.",
		Args: []Arg{setArg}, Run: nodePing,
	}, {
		Path: "node blink", Short: "have a node blink, to find it",
		Long: `Blinks with the LEDs of a machine that has some, for a minute unless told
otherwise; else runs the command blink of the image that the node boots.`,
		Args: []Arg{nodeArg, {Name: "D", Optional: true}}, Flags: confirms,
		Run: nodeBlink,
	}, {
		Path: "node log", Instead: "what happened in the lab: log show\nwhat happened to some nodes: log show --issuers SET",
	}, {
		Path: "node info", Instead: aboutNodes,
	}, {
		Path: "node status", Instead: aboutNodes,
	}, {
		Path: "node ps", Instead: aboutNodes,
	}, {
		Path: "node poweroff", Instead: `nodes are switched off with "node off SET"`,
	}, {
		Path: "node cycle", Instead: offAndOn,
	}, {
		Path: "node reset", Instead: offAndOn,
	}}
}

// aboutNodes is the hint for who asks about nodes with another word.
const aboutNodes = "your nodes, with their states: node show\nall nodes: node show --all\nmore of one: node show NODE"
