package commands

import (
	"context"
	"testing"

	"walt/fault"
	"walt/power/driver"
)

// steady is a device of drivers whose outlets are on, whatever it is told.
type steady struct{}

func (steady) Status(context.Context, driver.Target) (driver.State, error) { return driver.On, nil }
func (steady) Switch(context.Context, driver.Target, bool) error           { return nil }
func (steady) Close() error                                                { return nil }

// Whose node is not rebooted since it shares an outlet is told with whom, and what helps.
func TestNodeOnASharedOutlet(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.must(lab.nodes.Ports.Drivers.Set([]driver.Driver{{Name: "shelf", Means: steady{}}}, nil))
	lab.ok("alice", "device config rpi-1,rpi-2 power=shelf:1")
	lab.ok("bob", "node acquire rpi-1")
	lab.nodes.Up("rpi-1", "127.0.0.1:1")
	lab.tell([]step{
		{
			user: "bob", line: "node reboot rpi-1", status: StatusFailed,
			stderr: "walt: could not reboot rpi-1: it did not reboot by itself (dial tcp 127.0.0.1:1: connect: connection refused), and shelf:1 feeds rpi-2, too\n  try again with: node reboot rpi-1 --hard\n",
		},
		{
			user: "alice", line: "device config rpi-1 power=off", status: StatusUsage,
			stderr: "walt: power tells what feeds a node, and switches nothing\n  switch it with: node off NODE\n",
		},
	})
	lab.nodes.Failed("rpi-1", fault.Failedf("it has no root"))
	lab.tell([]step{{
		user: "bob", line: "node release rpi-1",
		stdout: "rpi-1 is free and boots its default image at its next start: the server has no means to reboot it\n",
		stderr: "shelf:1 feeds rpi-2, too; cut it for all with: node reboot rpi-1 --hard\n",
	}})
}

// broken is a device of drivers that is broken.
type broken struct{ steady }

func (broken) Status(context.Context, driver.Target) (driver.State, error) {
	return driver.Unknown, driver.Refusal{Err: fault.Failedf("pdu-2 is broken")}
}

func (broken) Switch(context.Context, driver.Target, bool) error {
	return driver.Refusal{Err: fault.Failedf("pdu-2 is broken")}
}

// Who switches on a node of which one of two supplies is broken is told that it is on, and that
// one is; who reboots it by its power, or takes it while it is on and does not answer, that it stays on.
func TestNodeWithABrokenSupply(t *testing.T) {
	t.Parallel()
	lab := newTestLab(t)
	lab.must(lab.nodes.Ports.SetDrivers([]driver.Driver{{Name: "pdu-1", Means: steady{}}, {Name: "pdu-2", Means: broken{}}}, nil))
	lab.ok("alice", "device config rpi-1 power=pdu-1:1+pdu-2:1")
	const staysOn = "walt: could not reboot rpi-1: it stays on, as not all of its outlets can be switched off: pdu-2 is broken\n" +
		"  see which fail with: power show\n"
	lab.tell([]step{{
		user: "bob", line: "node on rpi-1", stdout: "rpi-1 is on\n",
		stderr: "Not all outlets give rpi-1 power (pdu-2 is broken); others do. See: power show\n",
	}, {
		user: "bob", line: "node acquire rpi-1", status: StatusFailed,
		stdout: "rpi-1 is yours and boots rpi-3-b-default at its next start: the reboot failed, it stays on, as not all of its outlets can be switched off: pdu-2 is broken\n",
		stderr: "Cloned the default image into your working set as rpi-3-b-default.\n" + staysOn,
	}, {
		user: "bob", line: "node reboot --hard rpi-1", status: StatusFailed,
		stderr: staysOn,
	}})
}
