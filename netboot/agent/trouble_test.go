//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"walt/netboot/boottest"
	"walt/netboot/instructions"
)

// A machine whose memory for files is full goes on, and so does SSH; one whose
// shutdown hangs is reset in the end.
func TestMachineInTrouble(t *testing.T) {
	boottest.NeedLong(t, "busybox")
	b := newBench(t)
	b.in.Init = "/sbin/init"
	b.serveNFS(boottest.Busybox(t, true, map[string]string{
		"etc/inittab": "::sysinit:/bin/true\n::shutdown:/bin/sleep 100000\n",
	}))
	b.start(256)
	b.wait("up", at(instructions.Up))
	c := b.dial()
	if out, err := b.run(c, "cat /dev/zero > /full"); err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("filling the root: %q, %v", out, err)
	}
	if out, err := b.run(b.dial(), "echo x > /more; df / | tail -1; head -c 3000000 /dev/zero | wc -c"); err != nil || !strings.Contains(out, "100% /\n3000000\n") {
		t.Errorf("when it is full: %q, %v", out, err)
	}
	r := b.wait("it is full", func(r instructions.Report) bool { return r.Used == r.Size })
	t.Logf("%d bytes are full", r.Size)
	if out, err := b.run(c, "rm /full; echo x > /more && cat /more"); out != "x\n" || err != nil {
		t.Errorf("after it was full: %q, %v", out, err)
	}

	begun := time.Now()
	b.orders <- instructions.Order{Power: instructions.Reboot}
	b.gone()
	if took := time.Since(begun); took < hangs/2 {
		t.Errorf("the shutdown did not hang: %v", took)
	}
}
