package netboot_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
)

// A second device with the MAC address of one that runs is told: when its firmware asks for
// an address and the first one goes on, and when it has booted and the first one goes on. A
// machine that reboots is no second one.
func TestSameMAC(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	began := time.Now()
	var ahead atomic.Int64 // seconds
	f.Next.Now = func() time.Time { return began.Add(time.Duration(ahead.Load()) * time.Second) }
	t.Cleanup(func() { // after the end of the server
		imagetest.Until(t, "it is forgotten", func() bool { return netboot.Doubles(f.Server) == 0 })
	})
	f.Start()
	asks := func() { f.FirmwareAsks(one.MAC) }
	boots := func() (net.Conn, *instructions.Instructions) {
		t.Helper()
		_, token := f.Prepared(one)
		i, status := f.Ask(one, token)
		if i == nil {
			t.Fatalf("no instructions: status %d", status)
		}
		c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
		f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
		f.Hears("one up at 127.0.0.2:22")
		return c, i
	}
	const key, words = "twice 52:54:00:00:00:01", "one two devices have the MAC address 52:54:00:00:00:01, which is that of one: one of them has to go"

	// It reboots: nothing of the boot before speaks.
	first, _ := boots()
	asks()
	first.Close()
	f.Hears("one lost")
	ahead.Add(60)
	first, i := boots()
	if wrong := f.Worries(); len(wrong) > 0 {
		t.Errorf("it reboots: %v", wrong)
	}

	// Firmware asks, and it goes on: for a moment that may be what it said before.
	asks()
	f.Report(first, netboottest.ReportOf(i, instructions.Init))
	f.Report(first, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if wrong := f.Worries(); len(wrong) > 0 {
		t.Errorf("at once: %v", wrong)
	}
	ahead.Add(31)
	f.Report(first, netboottest.ReportOf(i, instructions.Init))
	f.Report(first, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if wrong := f.Worries(); wrong[key] != words {
		t.Errorf("it goes on: %v", wrong)
	}

	// The second one boots, and the first one goes on.
	f.Calmed(key)
	_, _ = boots()
	again := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	netboottest.Closed(t, again)
	if wrong := f.Worries(); len(wrong) > 0 {
		t.Errorf("at once: %v", wrong)
	}
	netboot.ForgetDoubles(f.Server)
	ahead.Add(31)
	netboottest.Closed(t, f.AsAgent(one, netboottest.ReportOf(i, instructions.Init)))
	imagetest.Until(t, "it is told", func() bool { return f.Worries()[key] == words })
	if netboot.Doubles(f.Server) != 1 {
		t.Error("nothing is to be forgotten")
	}
}
