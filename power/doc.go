// Package power owns the switch ports of the lab: which device is connected to
// which port, the power of ports, saving it, and the settings of switches. It
// knows ports and MAC addresses and no users; what it must know of the device
// behind an address it asks through Devices. Its one surprising rule: nothing
// but Execute switches a port, and it does only what an order says, which was
// written in the transaction that justifies it. DESIGN.md tells how that goes.
//
// Where is a device connected?
//
//	links.go       ports, and the links of devices to them
//	connect.go     what a user or a booting node tells of it
//	discovery.go   what switches tell of it: LLDP and bridge tables
//
// Who switches a port, and when?
//
//	saver.go       orders the ports of idle nodes off
//	order.go       orders: off, on again, off for a moment
//	switching.go   carries an order out, and notes what came of it
//	reconcile.go   has all orders carried out that nobody attends to
//	supply.go      what feeds nodes that outlets of drivers power, and how that is switched
//	feed.go        what becomes of orders when something else feeds a node from then on
//	drivers.go     the drivers that there are
//	woken.go       nodes that are asked to shut down, and woken by packets
//	astray.go      nodes that run on though they are off
//	shared.go      outlets that several nodes share
//	together.go    power cycles of all that hangs on one
//	look.go        what switches and devices say of their ports now
//	sessions.go    SNMP sessions with switches, and the turns at a port
//
// What is set and shown?
//
//	switch.go      the settings of switches in the store; switches that are forgotten
//	settings.go    settings as people see and change them
//	contact.go     whether switches answer
//	report.go      the power of all ports, and what was saved
//	ports.go       all of it put together; what runs in the background
package power
