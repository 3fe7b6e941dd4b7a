package sim

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walt/fault"
	"walt/images"
	"walt/nodes"
)

var (
	_ nodes.Host = (*Hypervisor)(nil)
	_ Lab        = (*nodes.Lab)(nil)
	_ Library    = (*images.Library)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLife(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	addr := l.boot(t, "rpi-1")
	c := l.login(t, addr)
	if r := run(t, c, "hostname; cat /etc/release", ""); r != (result{"rpi-1\none\n", "", 0}) {
		t.Errorf("got %+v", r)
	}
	l.sim.Stop("rpi-1")
	l.expect(t, "down")
	if err := c.Wait(); err == nil {
		t.Error("the connection ended in an orderly way, want it cut")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the node without power takes connections")
	}
	l.sim.Stop("rpi-1") // is off already
	l.sim.Stop("nobody")
	if len(l.events) > 0 {
		t.Errorf("the lab was told %v of nodes that are off", <-l.events)
	}
}

func TestStartCutsThePower(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	c := l.login(t, l.boot(t, "rpi-1"))
	l.choose("two")
	if r := run(t, c, "cat /etc/release", ""); r.out != "one\n" {
		t.Errorf("before it is started again, the node runs %q", r.out)
	}
	l.sim.Start("rpi-1")
	if len(l.events) == 0 {
		t.Error("Start returned before the lab knew that the old run is over")
	}
	addr := l.expect(t, "down", "boot", "up").addr
	if err := c.Wait(); err == nil {
		t.Error("the connection ended in an orderly way, want it cut")
	}
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("after it was started again, the node runs %q", r.out)
	}
}

func TestNewestStartWins(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	l.hold = make(chan struct{})
	l.sim.Start("rpi-1")
	l.expect(t, "boot")
	l.sim.Start("rpi-1") // while it is asking
	l.expect(t, "down", "boot")
	l.choose("two")
	close(l.hold)
	addr := l.expect(t, "up").addr
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("the node runs %q", r.out)
	}
}

// The lab is told of a node that is started while it is booting, or that reboots by
// itself, that it starts anew: for others it is not off in between.
func TestDownIsSaidToBeForAMoment(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	l.hold = make(chan struct{})
	l.sim.Start("rpi-1")
	l.expect(t, "boot")
	l.sim.Start("rpi-1") // while it is asking
	if e := l.expect(t, "down"); e.addr != "again" {
		t.Errorf("cut while it boots: %+v", e)
	}
	close(l.hold)
	addr := l.expect(t, "boot", "up").addr
	run(t, l.login(t, addr), "reboot", "")
	if e := l.expect(t, "down"); e.addr != "again" {
		t.Errorf("rebooted by itself: %+v", e)
	}
	l.expect(t, "boot", "up")
	l.sim.Stop("rpi-1")
	if e := l.expect(t, "down"); e.addr != "" {
		t.Errorf("stopped: %+v", e)
	}
}

func TestStartsAndStopsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	l.sim.Delay = 0
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if i%3 == 0 {
				l.sim.Stop("rpi-1")
			} else {
				l.sim.Start("rpi-1")
			}
		})
	}
	all.Wait()
	l.sim.Stop("rpi-1")
	on, last := false, ""
	for len(l.events) > 0 {
		e := <-l.events
		if e.what == "boot" && on || e.what == "up" && last != "boot" {
			t.Fatalf("%s after %s", e.what, last)
		}
		on, last = e.what != "down", e.what
	}
	if last != "down" {
		t.Errorf("the last thing that the lab heard is %q, want down", last)
	}
}

func TestImageThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	l.choose("broken")
	l.sim.Start("rpi-1")
	if why := l.expect(t, "boot", "failed").addr; !strings.Contains(why, "its content is damaged") {
		t.Errorf("the lab is told %q", why)
	}
	l.choose("one")
	l.boot(t, "rpi-1")
	l.sim.Close()
	if err := l.sim.Start("rpi-1"); fault.As(err) == nil {
		t.Errorf("after Close it starts, %v", err)
	}
}

func TestReboot(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one"), "two": release("two")})
	addr := l.boot(t, "rpi-1")
	c, other := l.login(t, addr), l.login(t, addr)
	l.choose("two")
	if r := run(t, c, "reboot; echo still here", ""); r != (result{"The system is going down NOW!\n", "", 0}) {
		t.Errorf("reboot answers %+v", r)
	}
	addr = l.expect(t, "down", "boot", "up").addr
	if err := other.Wait(); err == nil {
		t.Error("the other connection ended in an orderly way, want it cut")
	}
	if r := run(t, l.login(t, addr), "cat /etc/release", ""); r.out != "two\n" {
		t.Errorf("after its reboot the node runs %q", r.out)
	}
	l.sim.Stop("rpi-1")
	l.expect(t, "down")
}

func TestCloseIsForEver(t *testing.T) {
	t.Parallel()
	l := newLab(t, shelf{"one": release("one")})
	for i := range 10 {
		l.boot(t, nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	l.sim.Close()
	for range 10 {
		l.expect(t, "down")
	}
	l.sim.Start("rpi-1")
	l.sim.Close()
	if len(l.events) > 0 {
		t.Errorf("after Close: %v", <-l.events)
	}
}

func TestBootsInTurns(t *testing.T) {
	t.Parallel()
	const all = 3 * Boots
	l := newLab(t, shelf{"one": release("one")})
	l.sim.Delay = 0
	l.hold = make(chan struct{})
	for i := range all {
		l.sim.Start(nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	for range Boots {
		l.expect(t, "boot")
	}
	time.Sleep(20 * time.Millisecond) // nothing tells that nothing happens
	if len(l.events) > 0 {
		t.Errorf("more than %d nodes boot at once", Boots)
	}
	close(l.hold)
	for ups := 0; ups < all; {
		if e := <-l.events; e.what == "up" {
			ups++
		}
	}
}

// BenchmarkNode tells what a running node costs.
func BenchmarkNode(b *testing.B) {
	l := newLab(b, shelf{"one": release("one")})
	before := memory()
	b.ResetTimer()
	for i := range b.N {
		l.sim.Start(nodes.Name(fmt.Sprintf("rpi-%d", i)))
	}
	for ups := 0; ups < b.N; {
		if e := <-l.events; e.what == "up" {
			ups++
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(memory()-before)/float64(b.N), "bytes/node")
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
