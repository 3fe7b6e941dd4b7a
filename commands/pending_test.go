package commands

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walt/power/snmp"
)

// What nodes wait for is shown on a terminal in one line, for as long as they do; results take
// its place meanwhile, and in the end it is gone.
func TestPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		c := &Call{
			App: &App{}, pending: newPending(),
			Session: &Session{Out: &screen, Err: &screen, Terminal: &Terminal{Name: "xterm", Size: func() (int, int) { return 60, 24 }}},
		}
		shows := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := screen.String(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			screen.Reset()
		}
		end := c.showPending()
		quick := c.pending.begin("rpi-1", "asking it to reboot")
		quick()
		shows("soon over", "")
		whole := c.pending.begin("rpi-1", "switching rack1:7 off and on")
		others := []func(){}
		for n := range 199 {
			others = append(others, c.pending.begin(fmt.Sprint("node-", n), "not its turn yet"))
		}
		part := c.pending.begin("rpi-1", "rack1:7 off for 1m0s")
		shows("off", "\r\x1b[KWaiting for rpi-1 (rack1:7 off for 1m0s) and 199 more ...")
		part()
		shows("on its way", "\r\x1b[KWaiting for rpi-1 (switching rack1:7 off and on) and 199 ")
		c.say("%s is rebooting", "pc-1")
		shows("a result", "\r\x1b[Kpc-1 is rebooting\n\r\x1b[KWaiting for rpi-1 (switching rack1:7 off and on) and 199 ")
		whole()
		long := c.pending.begin("node-0", "switching hub-in-the-lab:1-1.4.2 off and on")
		shows("a long one", "\r\x1b[KWaiting for node-0 and 198 more ...")
		long()
		shows("another", "\r\x1b[KWaiting for node-0 (not its turn yet) and 198 more ...")
		for _, over := range others {
			over()
		}
		one := c.pending.begin("a-very-long-name-of-a-board-on-a-shelf-in-the-lab-1", "switching usb:1 off")
		two := c.pending.begin("a-very-long-name-of-a-board-on-a-shelf-in-the-lab-2", "switching usb:2 off")
		shows("long names", "\r\x1b[KWaiting for 2 nodes ...")
		one()
		two()
		shows("none", "\r\x1b[K")
		left := c.pending.begin("rpi-1", "rack1:7 off for 5s")
		shows("once more", "\r\x1b[KWaiting for rpi-1 (rack1:7 off for 5s) ...")
		end()
		left() // as after Ctrl-C
		shows("the end", "\r\x1b[K")
	})
}

// Who waits for a port that is slow sees so on a terminal, and nowhere else; Ctrl-C ends that.
func TestPendingPort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab := newTestLab(t)
		lab.ok("bob", "device add sw-1 --mac 52:54:00:00:09:01")
		lab.ok("bob", "device config sw-1 type=switch address=10.0.0.2 snmp.version=1 snmp.community=c lldp.explore=true poe.reboots=true")
		lab.outlets.seen = []snmp.Neighbour{{Port: 1, MAC: "52:54:00:00:00:01", Source: snmp.LLDP, Behind: 1}}
		lab.ok("bob", "device rescan")
		lab.outlets.takes.Store(int64(10 * time.Second))
		for _, c := range []struct{ line, stdout, stderr string }{
			{"node off rpi-1", "rpi-1 is off\n", "\r\x1b[KWaiting for rpi-1 (switching port 1 of sw-1 off) ...\r\x1b[K"},
			{"node on rpi-1", "rpi-1 is on\n", "\r\x1b[KWaiting for rpi-1 (switching port 1 of sw-1 on) ...\r\x1b[K"},
		} {
			if got := lab.runIn(t.Context(), lab.terminal("bob"), c.line); got != (answer{c.stdout, c.stderr, StatusDone}) {
				t.Errorf("%s: %+v", c.line, got)
			}
		}
		lab.tell([]step{{user: "bob", line: "node off rpi-1", stdout: "rpi-1 is off\n"}})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		got := lab.runIn(ctx, lab.terminal("bob"), "node acquire rpi-1")
		if want := "\r\x1b[KWaiting for rpi-1 (switching port 1 of sw-1 on) ...\r\x1b[K"; !strings.HasPrefix(got.stderr, want) || got.stdout != "" {
			t.Errorf("ended: %+v", got)
		}
		time.Sleep(time.Minute)
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		got = lab.runIn(ctx, lab.terminal("bob"), "node off rpi-1")
		want := "\r\x1b[KWaiting for rpi-1 (switching port 1 of sw-1 off) ...\r\x1b[Kwalt: interrupted: what was begun goes on\n  see what they are doing with: node show --all\n"
		if got != (answer{"", want, StatusInterrupted}) {
			t.Errorf("ended: %+v", got)
		}
		time.Sleep(time.Minute)
		if lab.outlets.mu.Lock(); !lab.outlets.off[1] {
			t.Error("it did not go on")
		}
		lab.outlets.mu.Unlock()
		lab.store.Close()
	})
}
