// Package nodes is the heart of the lab: its devices, who owns which node, and
// what happens when that changes. It draws no screens and asks no questions:
// what needs a user's consent is returned as facts and called again with them.
// Its one surprising rule: ownership is never recorded; the owner of a node is
// the user whose image it boots, and only enroll and assign write that.
//
// What is a device, and how is it spoken of?
//
//	device.go      the record of a device, what runs it (hardware or the server);
//	               its name, the form and the natural order of names
//	owner.go       who owns it, whether it is free; the index of nodes by owner
//	disturbed.go   who counts as disturbed by what is done to devices
//	view.go        all of them in memory, for what is shown and to pick among many
//	remarks.go     what its owner says of a node, and what it is marked with
//	sharing.go     owners say it; with whom they share nodes, and who asks for one
//	set.go         expressions that stand for several devices
//	find.go        and what they stand for
//	source.go      which is looked for in a transaction, or in the view
//	tags.go        words that devices are marked with
//	retired.go     nodes that are out of service
//	register.go    devices come, go and get other names
//	import.go      many are added at once, or none
//	remodel.go     what becomes of devices whose model a user tells
//	arrive.go      devices come by themselves, when they ask for their addresses
//	itself.go      and tell what they are, when they run
//	create.go      virtual nodes are made
//	room.go        how much the machines among them may take
//	settings.go    the settings of nodes, and their values
//	subject.go     and all settings that devices have
//	assignment.go  settings and values as users give them
//	configure.go   changing them
//	settinglist.go showing them, of many devices, some at a time
//
// How does a node change hands?
//
//	release.go     nodes become free, very many of them some at a time
//	ownership.go   acquire, boot: what users may do
//	assign.go      the one place where a node changes hands
//	give.go        nodes are handed over to who asked for them
//	any.go         which free nodes are given to who wants any
//	pool.go        the free nodes by how soon they are of use
//	wish.go        what users wait for, in the order of arrival
//	turns.go       whose turn it is: what becomes free is given to who waits, in the
//	               transaction that frees it
//	enqueue.go     who begins to wait, or takes a place up again
//	heard.go       and how often their owners are told so
//	possible.go    what is there to wait for: who waits for more waits no longer
//	waiter.go      those who wait, and how that ends
//	place.go       where each of them stands, and is told so
//	attend.go      what the server does for them by itself
//	change.go      the transaction of one command that makes nodes boot other
//	               images, and the restarts that follow its commit
//	images.go      what package images asks for when the content of a name changes;
//	               the free node that boots a new default image before the others
//	hold.go        until when a node is its owner's
//	warning.go     what its owner is told before that is over
//	tie.go         or only while its owner is connected
//	ending.go      and its release then
//	removeuser.go  what becomes of the nodes and images of a user who leaves
//
// What is a node doing?
//
//	lab.go         all of it put together; what runs in the background
//	machines.go    which images boot on nodes that are machines
//	lent.go        and which need the kernel that another image lends
//	boot.go        what a node that starts gets, and what it reports
//	hasty.go       machines that reboot as soon as they are up
//	steps.go       how far boots are
//	trail.go       what the last boot of a node left: its steps, and files
//	stopped.go     boots that stopped before the image's own programs run
//	status.go      what was heard of each node since the server started
//	statelog.go    which nodes came up and went down, for the log
//	unnoted.go     and what of that the store does not take
//	flap.go        and how many of that it is told of a node at most
//	watchdog.go    nodes that do not come up in time
//	asleep.go      and boards whose firmware has stopped
//	probe.go       whether nodes that go on without the server still answer
//	network.go     what is wrong on the network of boards and PCs
//	lost.go        and those whose agents are gone
//	stood.go       time in which the server itself did not run
//	agents.go      what is asked of agents, or over SSH where there is none
//	reboot.go      starting nodes anew, by themselves or by their power
//	rebootnotes.go what the log and owners are told of that
//	atonce.go      doing it with many at the same time
//	rounds.go      booting a node again and again
//	verdict.go     what came of that
//	off.go         switching nodes off and on
//	woken.go       asking those to do it whose power nothing can cut
//	strips.go      nodes that share outlets, which are switched together
//	startup.go     machines when the server starts: it goes on with those that run, and
//	               starts the others, a few at a time
//	wait.go        waiting until nodes are up
//	wake.go        waking those that save power
//	session.go     commands and shells of users on nodes
//	serial.go      consoles: who may sit at one, in whose term a node writes, and where
//	               the serial lines of boards are
//	expose.go      ports of the server that lead to nodes
//	reach.go       nodes reached with the users' own programs: who may, and until when
//	speaker.go     whose lines they are that a node says, and for whom
//	files.go       and their files
//	admitted.go    whose keys nodes let in, and the host keys that they show
//	ports.go       what package power asks and is asked about switch ports
//	show.go        which devices are to be shown
//	list.go        all of that, of many devices, some at a time
//	glance.go      and what tables show of many nodes
//	outline.go     and which of them a table is as wide as
//	detail.go      and of one node
//	console.go     the last that nodes wrote on their consoles
package nodes
