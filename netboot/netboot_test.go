package netboot_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"walt/ethernet"
	"walt/fault"
	"walt/images/content"
	"walt/images/imagetest"
	"walt/netboot"
	"walt/netboot/initrd"
	"walt/netboot/instructions"
	"walt/netboot/netboottest"
	"walt/netboot/nfs"
	"walt/nodes"
)

// A boot is secret: it is for the machine at one address, with the token of this
// boot, until its agent has come; a restart of the server in between does no harm.
func TestInstructionsAreSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, old := f.Prepared(one)
	_, token := f.Prepared(one)
	_, other := f.Prepared(two)
	for what, c := range map[string]struct {
		m     netboot.Machine
		token string
	}{
		"the boot before": {one, old}, "another machine's": {one, other}, "another machine": {two, token}, "none": {one, "x"},
	} {
		if _, status := f.Ask(c.m, c.token); status != http.StatusForbidden {
			t.Errorf("%s: status %d", what, status)
		}
	}
	i, _ := f.Ask(one, token)
	if i == nil || i.Host != "one" || i.Digest != f.Images["red"].Digest || len(i.Root.NFS) != 1 || len(i.AuthorizedKeys) != 1 {
		t.Fatalf("%+v", i)
	}
	if again, _ := f.Ask(one, token); again == nil { // the answer was lost
		t.Error("they are given once only")
	}
	restart := func() {
		f.Start()
		if found, err := f.Resume(t.Context(), one); !found || err != nil {
			t.Fatal(found, err)
		}
	}
	restart()
	if again, _ := f.Ask(one, token); again == nil || again.HostKey != i.HostKey || again.MachineID != i.MachineID || again.Boot != i.Boot {
		t.Error("after a restart they are others")
	}
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if _, status := f.Ask(one, token); status != http.StatusForbidden {
		t.Errorf("after the agent came: status %d", status)
	}
	restart()
	if _, status := f.Ask(one, token); status != http.StatusForbidden {
		t.Errorf("after the agent came, and a restart: status %d", status)
	}
	moved := one
	moved.IP = two.IP
	if found, err := f.Resume(t.Context(), moved); found || err != nil {
		t.Errorf("a machine that knows itself by another address: %v, %v", found, err)
	}
	if found, err := f.Resume(t.Context(), netboot.Machine{MAC: "52:54:00:00:00:09"}); found || err != nil {
		t.Errorf("a machine that never booted: %v, %v", found, err)
	}
}

// What agents say reaches the lab, once; those of no boot, or of an older one, do not.
func TestAgents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	up := netboottest.ReportOf(i, instructions.Up)
	up.Uptime = 12.5
	for what, bad := range map[string]instructions.Report{
		"no token":     {Boot: i.Boot},
		"another boot": {Token: i.Token, Boot: "x"},
	} {
		t.Log(what)
		netboottest.Closed(t, f.AsAgent(one, bad))
	}
	netboottest.Closed(t, f.AsAgent(two, up))
	c := f.AsAgent(one, up)
	f.Report(c, up)
	f.Hears("one up at 127.0.0.2:22")
	again := f.AsAgent(one, up) // it lost its connection, and the server does not know yet
	f.Hears("one up at 127.0.0.2:22")
	netboottest.Closed(t, c)
	orders := bufio.NewReader(again)
	order := func() (o instructions.Order) {
		t.Helper()
		line, err := orders.ReadBytes('\n')
		if err = errors.Join(err, json.Unmarshal(line, &o)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return o
	}
	if o := order(); o.Clock == nil || time.Since(*o.Clock).Abs() > time.Minute || o.After != up.Uptime {
		t.Errorf("it is not told the time: %+v", o)
	}
	if err := f.Blink("one", time.Minute); !errors.Is(err, nodes.ErrNoAgent) {
		t.Errorf("without an LED it blinks: %v", err)
	}
	if f.Deaf(one.MAC) {
		t.Error("its network card cannot be woken")
	}
	up.LEDs, up.Deaf = 2, true
	f.Report(again, up)
	imagetest.Until(t, "it has an LED", func() bool { return f.Blink("one", time.Minute) == nil })
	if !f.Deaf(one.MAC) {
		t.Error("its network card can be woken")
	}
	if o := order(); o.Blink != 60 || o.Clock != nil {
		t.Errorf("the order to blink: %+v", o)
	}
	began := make(chan error, 1)
	hasty, cancel := context.WithCancel(t.Context())
	go func() { began <- f.Reboot(hasty, "one") }() // ends when it is cancelled
	if o := order(); o.Power != instructions.Reboot {
		t.Errorf("the order %+v", o)
	}
	cancel()
	if err := <-began; !errors.Is(err, context.Canceled) {
		t.Errorf("one that does not begin reboots: %v", err)
	}
	go func() { began <- f.PowerOff(t.Context(), "one") }() // ends with the report
	if o := order(); o.Power != instructions.Poweroff {
		t.Errorf("the order %+v", o)
	}
	up.Ending = instructions.Poweroff
	f.Report(again, up)
	if err := <-began; err != nil {
		t.Error(err)
	}
	f.Prepared(one)
	netboottest.Closed(t, again)
	if err := f.Reboot(t.Context(), "one"); !errors.Is(err, nodes.ErrNoAgent) {
		t.Errorf("an order to a machine without agent: %v", err)
	}
	long := f.AsAgent(one, instructions.Report{Failed: strings.Repeat("x", 1<<17)})
	netboottest.Closed(t, long)
	if len(f.Told) > 0 {
		t.Errorf("the lab was told %q", <-f.Told)
	}
}

// A boot that has failed stays so, whatever else its agent says, and is told once: the log
// must not be filled by that.
func TestFailedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	up, down := netboottest.ReportOf(i, instructions.Up), netboottest.ReportOf(i, instructions.Mounts)
	c := f.AsAgent(one, up)
	f.Hears("one up at 127.0.0.2:22")
	for _, why := range []string{"no root", "no root", "no land"} {
		down.Failed = why
		f.Report(c, down)
		f.Report(c, up)
	}
	f.Hears("one failed: no root")
	f.Hears("one stopped at 127.0.0.2:22")
	f.AsAgent(one, up)
	netboottest.Closed(t, c)
	down.Failed, down.Size, down.Used = "again", 2, 1
	f.AsAgent(one, down)
	f.Hears("one wrote 1 of 2")

	_, token = f.Prepared(one)
	i, _ = f.Ask(one, token)
	f.AsAgent(one, netboottest.ReportOf(i, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
}

// A machine that comes to another server is made to look after what it waits for: the
// files that it reads, and nothing else.
func TestConnectionsOfAServerBefore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	said := netboottest.ReportOf(i, instructions.Mounts)
	said.Conns = []instructions.Conn{{Local: 690, Remote: netboot.PortNFS}, {Local: 4000, Remote: 22}, {Local: 4001, Remote: netboot.PortHTTP}}
	for port := range uint16(100) {
		said.Conns = append(said.Conns, instructions.Conn{Local: 5000 + port, Remote: netboot.PortNFS})
	}
	c := f.AsAgent(one, said)
	f.Report(c, netboottest.ReportOf(i, instructions.Mounts, instructions.Init, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if got := f.Ports.Prodded(); len(got) != instructions.MostConns-1 || got[0] != "2049 127.0.0.2:690" || got[1] != "80 127.0.0.2:4001" {
		t.Errorf("it looks after %v", got)
	}
}

// The lab is told how the process of an image without an init ended, and for the first
// time only once, also by a server that found the machine running.
func TestProcessEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	said := netboottest.ReportOf(i, instructions.Init, instructions.Up)
	said.Ended = "work\x1b ended with status 5"
	c := f.AsAgent(one, said)
	f.Hears("one up at 127.0.0.2:22")
	f.Hears("one: work ended with status 5, again false")
	f.Report(c, said)
	f.Hears("one: work ended with status 5, again true")
	if resumed, err := f.Resume(t.Context(), one); err != nil || !resumed {
		t.Fatal(resumed, err)
	}
	f.AsAgent(one, said)
	f.Hears("one up at 127.0.0.2:22")
	f.Hears("one: work ended with status 5, again true")
}

// The lab is told of each step of a boot once, and nothing by a machine that boots anew.
func TestSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Modules, instructions.Asking, instructions.Mounts))
	f.Report(c, netboottest.ReportOf(i, instructions.Mounts))
	for _, other := range []instructions.Step{instructions.Modules, instructions.Network, instructions.Step(nodes.StepMounting), "dancing"} {
		f.Report(c, netboottest.ReportOf(i, other)) // no agent is there
	}
	f.Report(c, netboottest.ReportOf(i, instructions.Init))
	f.Report(c, netboottest.ReportOf(i, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	got := strings.Join(f.Steps(), ", ")
	if want := "one kernel, one initramfs, one mounting, one root"; got != want {
		t.Errorf("the lab was told of %q, want %q", got, want)
	}
	late := f.AsAgent(one, netboottest.ReportOf(i, instructions.Init))
	f.Choose("one", "hollow")
	if _, err := f.Prepare(t.Context(), one); err == nil {
		t.Error("hollow boots")
	}
	netboottest.Closed(t, late)
	other := netboottest.ReportOf(i, instructions.Up)
	other.Digest = "sha256:other"
	netboottest.Closed(t, f.AsAgent(one, other))
	if len(f.Told) > 0 {
		t.Errorf("the lab was told %q", <-f.Told)
	}
}

// A machine sees its own image, from kernel to root, whatever becomes of its name.
func TestMachinesSeeTheirOwnImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := func(name string) nfs.ID { return nfs.IDOf(content.Digest(f.Images[name].Digest)) }
	sees := func(m netboot.Machine, image string) bool {
		t.Helper()
		tree, err := f.Tree(t.Context(), m.IP, id(image))
		if err != nil {
			t.Fatal(err)
		}
		if tree == nil {
			return false
		}
		b, err := tree.ReadFile("etc/name")
		if err != nil || string(b) != image {
			t.Errorf("%q, %v", b, err)
		}
		return true
	}
	if sees(one, "red") {
		t.Error("a machine that boots nothing sees an image")
	}
	before, _ := f.Prepared(one)
	f.Choose("one", "blue")
	if !sees(one, "red") || sees(one, "blue") || sees(two, "red") {
		t.Error("images are seen by the wrong ones")
	}
	after, _ := f.Prepared(one)
	if sees(one, "red") || !sees(one, "blue") || before.Kernel == after.Kernel {
		t.Error("after another boot, the image before is seen")
	}
	for _, name := range []string{after.Kernel, after.Initrd} {
		if i, err := os.Stat(name); err != nil || i.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if at, found := f.Find("one"); at != one.IP || !found {
		t.Errorf("one is at %v, %v", at, found)
	}
	if err := f.Forget(t.Context(), one.MAC); err != nil {
		t.Fatal(err)
	}
	if sees(one, "blue") {
		t.Error("a machine that is gone sees an image")
	}
	if found, err := f.Resume(t.Context(), one); found || err != nil {
		t.Errorf("a machine that is gone comes back: %v, %v", found, err)
	}
}

// Of a machine that is off nothing is held, and nothing is seen; it may come back.
func TestMachineThatIsOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	m := &meeting{Library: f.Library}
	f.Config.Library = m
	_, token := f.Prepared(one)
	i, _ := f.Ask(one, token)
	c := f.AsAgent(one, netboottest.ReportOf(i, instructions.Up))
	f.Hears("one up at 127.0.0.2:22")
	if m.here.Load() != 1 {
		t.Errorf("%d images are held", m.here.Load())
	}
	f.Over(one.IP)
	netboottest.Closed(t, c)
	if _, found := f.Find("one"); found || m.here.Load() != 0 {
		t.Errorf("of a machine that is off %d images are held", m.here.Load())
	}
	f.Over(one.IP)
	if _, token = f.Prepared(one); token == "" || m.here.Load() != 1 {
		t.Error("it does not come back")
	}
}

func TestImageThatCannotBoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Choose("one", "hollow")
	if _, err := f.Prepare(t.Context(), one); err == nil || !strings.Contains(err.Error(), "it has no kernel") {
		t.Errorf("%v", err)
	}
	if tree, err := f.Tree(t.Context(), one.IP, nfs.IDOf(content.Digest(f.Images["hollow"].Digest))); tree != nil || err != nil {
		t.Errorf("it is seen all the same: %v", err)
	}
}

// A server that was built without the program of machines says so to users.
func TestServerWithoutAgents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Agent = func(string) ([]byte, error) { return nil, initrd.ErrNoAgent }
	if _, err := f.Prepare(t.Context(), one); fault.As(err) == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("a boot: %v", err)
	}
}

// Addresses are for ever, and each is one machine's.
func TestLeases(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	small := netboot.PoolOf(netip.MustParsePrefix("10.0.0.0/29")) // the server, five machines, everybody
	taken := map[netip.Addr]bool{netip.MustParseAddr("10.0.0.1"): true}
	for i := range 5 {
		mac := ethernet.MAC(fmt.Sprintf("52:54:00:00:00:%02d", i))
		ip, err := f.Lease(t.Context(), mac, small)
		if err != nil || taken[ip] || !small.Net.Contains(ip) {
			t.Fatalf("%v, %v", ip, err)
		}
		taken[ip] = true
		if again, err := f.Lease(t.Context(), mac, small); again != ip || err != nil {
			t.Errorf("%v, then %v, %v", ip, again, err)
		}
	}
	if ip, err := f.Lease(t.Context(), "52:54:00:00:00:66", small); err == nil {
		t.Errorf("%v of a network that is full", ip)
	}
	if why := f.Worries()["full"]; !strings.HasPrefix(why, "the network 10.0.0.0/29 has no address left") {
		t.Errorf("the lab is told %q", why)
	}
	if err := f.Forget(t.Context(), "52:54:00:00:00:02"); err != nil {
		t.Fatal(err)
	}
	if why := f.Worries()["full"]; why != "" {
		t.Errorf("there is an address, and the lab is told %q", why)
	}
	if _, err := f.Lease(t.Context(), "52:54:00:00:00:66", small); err != nil {
		t.Error(err)
	}
	if ip, err := f.Lease(t.Context(), "52:54:00:00:00:66", netboot.PoolOf(netip.MustParsePrefix("10.1.0.0/24"))); err != nil || ip != netip.MustParseAddr("10.1.0.2") {
		t.Errorf("on another network: %v, %v", ip, err)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for on, want := range map[string]string{
		"192.168.7.0/24": "192.168.7.1 192.168.7.254", "10.0.0.0/20": "10.0.0.1 10.0.15.254", "10.1.2.128/29": "10.1.2.129 10.1.2.134", "10.1.2.3/16": "10.1.0.1 10.1.255.254",
	} {
		first, last := netboot.Hosts(netip.MustParsePrefix(on))
		if got := fmt.Sprint(first, " ", last); got != want {
			t.Errorf("%s: %s, want %s", on, got, want)
		}
	}
}

// What a board says that it is on is told to the lab once it is up.
func TestBoardModel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, want := range map[string]string{
		"Raspberry Pi 4 Model B Rev 1.4": "rpi-4-b", "Raspberry Pi 3 Model B Plus Rev 1.3": "rpi-3-b-plus", "Raspberry Pi 400 Rev 1.0": "rpi-400",
		"Raspberry Pi Compute Module 4 Rev 1.0": "rpi-cm-4", "Raspberry Pi Zero 2 W Rev 1.0": "rpi-zero-2-w", "Raspberry Pi Model B Plus Rev 1.2": "rpi-b-plus",
		"Radxa ROCK 5B": "", "Raspberry Pi ": "", "Raspberry Pi ../../x": "",
	} {
		_, token := f.Prepared(one)
		i, _ := f.Ask(one, token)
		r := netboottest.ReportOf(i, instructions.Init)
		r.Board = name
		c := f.AsAgent(one, r)
		f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up))
		f.Hears("one up at 127.0.0.2:22")
		if want != "" {
			f.Hears("one reports itself as " + want)
		}
		f.Report(c, netboottest.ReportOf(i, instructions.Init, instructions.Up)) // of which nothing more is told
	}
}
