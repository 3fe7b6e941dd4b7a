package nodes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"walt/auth"
	"walt/consent"
	"walt/e2e/lab"
	"walt/power"
)

// agents starts real SNMP agents, each with the nodes <its name>n1, <its name>n2
// and so on behind its ports from 1 on, and returns a lab that knows all of them.
func agents(t testing.TB, switches, ports int) (l testLab, started []*lab.Switch) {
	t.Helper()
	l = newLab(t, []auth.Name{"bob"})
	dir := t.TempDir()
	for i := range switches {
		name := Name(fmt.Sprintf("s%d", i+1))
		behind := map[int]string{}
		for port := 1; port <= ports; port++ {
			n := Name(fmt.Sprintf("%sn%d", name, port))
			l.node(t, n, "m1")
			behind[port] = string(macOf(string(n)))
		}
		own := filepath.Join(dir, string(name))
		ok(t, os.Mkdir(own, 0o700))
		sw, err := lab.NewSwitch(own, 1, ports, behind)
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		ok(t, err)
		ok(t, sw.Start())
		t.Cleanup(func() { ok(t, sw.Stop()) })
		l.addSwitch(t, name, sw.Address, "lldp.explore=true", "poe.reboots=true")
		started = append(started, sw)
	}
	return l, started
}

// eventually waits for a port to have power, or none.
func eventually(t testing.TB, sw *lab.Switch, port int, want bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		on, err := sw.Power(sw.Outlets[port-1])
		ok(t, err)
		if on == want {
			return
		}
	}
	t.Errorf("port %d: power %v, want %v", port, !want, want)
}

func TestRealSwitches(t *testing.T) {
	t.Parallel()
	l, switches := agents(t, 2, 3)
	_, links, err := l.Rescan(t.Context(), "alice", parse("all-switches"))
	ok(t, err)
	if len(links) != 6 || l.state(t, "s2n3").Port != (power.Port{Switch: macOf("s2"), Number: 3}) {
		t.Errorf("links: %+v", links)
	}
	_, err = l.Acquire(t.Context(), "bob", parse("s1n1"), Remarks{}, consent.Agreement{})
	ok(t, err)
	stop := l.live(t)
	defer func() { stop() }()
	l.Ports.SetIdle(300 * time.Millisecond)
	for _, sw := range switches {
		eventually(t, sw, 3, false)
		eventually(t, sw, 2, false)
	}
	eventually(t, switches[0], 1, true)
	result, err := l.Acquire(t.Context(), "bob", parse("s1n2,s2n3"), Remarks{}, consent.Agreement{})
	ok(t, err)
	for _, ch := range result.Changes {
		if ch.Reboot.Outcome != RebootOK {
			t.Errorf("%s: %s", ch.Node, ch.Reboot)
		}
	}
	for i, port := range []int{2, 3} {
		if on, err := switches[i].Power(switches[i].Outlets[port-1]); err != nil || !on {
			t.Errorf("port %d is off when its node is acquired (%v)", port, err)
		}
	}

	// An agent that lets nobody write, and a community that it does not know.
	l.configure(t, "s1", "snmp.community=public")
	var how string
	ok(t, l.Reboot(t.Context(), "bob", parse("s1n2"), true, consent.Agreement{}, func(ch Change) { how = ch.Reboot.String() }))
	if want := fmt.Sprintf("switch s1 (%s) refuses to turn the power of port 2 (Gi1/0/2) off (NoAccess)", switches[0].Address); how != want {
		t.Errorf("the reboot: %q, want %q", how, want)
	}
	if on, err := switches[0].Power("1.2"); err != nil || !on {
		t.Errorf("after that, the port is off (%v)", err)
	}
}

// BenchmarkRescan asks ten switches about 200 nodes, all of which have moved.
func BenchmarkRescan(b *testing.B) {
	l, _ := agents(b, 10, 20)
	for b.Loop() {
		_, links, err := l.Rescan(b.Context(), "alice", parse("all-switches"))
		ok(b, err)
		if len(links) != 200 {
			b.Fatalf("%d links", len(links))
		}
		b.StopTimer()
		for _, link := range links {
			l.configure(b, Name(link.Device), "switch=none")
		}
		b.StartTimer()
	}
}

func TestWentDown(t *testing.T) {
	for status, want := range map[int]bool{0: true, 143: true, 137: true, 129: true, 1: false, 127: false, 130: false, 255: false} {
		if wentDown(status) != want {
			t.Errorf("status %d: %v", status, !want)
		}
	}
}
