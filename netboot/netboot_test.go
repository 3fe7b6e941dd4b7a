package netboot_test

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/ssh"

	"walt/ethernet"
	"walt/fault"
	"walt/images"
	"walt/images/content"
	"walt/images/imagetest"
	"walt/journal"
	"walt/netboot"
	"walt/netboot/boottest"
	"walt/netboot/initrd"
	"walt/netboot/instructions"
	"walt/netboot/nfs"
	"walt/nodes"
	"walt/state"
	"walt/state/badger"
)

var (
	_ netboot.Lab  = (*nodes.Lab)(nil)
	_ nodes.Agents = (*netboot.Server)(nil)
)

// Two machines on two addresses of loopback, where the server is on a third.
var (
	server = netip.MustParseAddr("127.0.0.1")
	one    = netboot.Machine{Name: "one", MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("127.0.0.2"), Server: server, Net: netip.MustParsePrefix("127.0.0.0/24")}
	two    = netboot.Machine{Name: "two", MAC: "52:54:00:00:00:02", IP: netip.MustParseAddr("127.0.0.3"), Server: server, Net: netip.MustParsePrefix("127.0.0.0/24")}
)

// fixture is a server of machines, and a lab that notes what it is told.
type fixture struct {
	*netboot.Server
	config netboot.Config
	t      *testing.T
	ports  loopback
	told   chan string

	registry string

	mu     sync.Mutex
	boots  map[nodes.Name]images.Image // what nodes are to boot
	steps  []string                    // that boots reached
	images map[string]images.Image
}

func (f *fixture) Boot(_ context.Context, n nodes.Name) (images.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boots[n], nil
}

func (f *fixture) Reached(_ context.Context, n nodes.Name, s nodes.Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, fmt.Sprintf("%s %s", n, s))
}
func (f *fixture) Up(n nodes.Name, addr string) { f.told <- fmt.Sprintf("%s up at %s", n, addr) }
func (f *fixture) Lost(n nodes.Name, heard time.Time, about string) {
	f.told <- strings.TrimSpace(fmt.Sprintf("%s lost %s", n, about))
}

func (f *fixture) Failed(n nodes.Name, reason error) {
	f.told <- fmt.Sprintf("%s failed: %v", n, reason)
}

func (f *fixture) Stopped(n nodes.Name, addr string) {
	f.told <- fmt.Sprintf("%s stopped at %s", n, addr)
}

func (f *fixture) Wrote(n nodes.Name, bytes, most int64) {
	f.told <- fmt.Sprintf("%s wrote %d of %d", n, bytes, most)
}

func (f *fixture) choose(n nodes.Name, image string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots[n] = f.images[image]
}

func (f *fixture) hears(want string) {
	f.t.Helper()
	select {
	case got := <-f.told:
		if got != want {
			f.t.Errorf("the lab was told %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		f.t.Errorf("the lab was not told %q", want)
	}
}

// loopback is a network on loopback, where ports are others than usual.
type loopback struct {
	mu sync.Mutex
	of map[uint16]string
}

func (l *loopback) Listen(port uint16) (net.Listener, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[port] = listener.Addr().String()
	return listener, nil
}

func (l *loopback) ListenBroadcast(port uint16) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[port] = conn.LocalAddr().String()
	return conn, nil
}

func (l *loopback) at(port uint16) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[port]
}

// bootable is an image of which all that a machine needs is built into the kernel.
func bootable(t *testing.T, name string, more ...*tar.Header) v1.Image {
	return builtWith(t, []string{"nfs", "nfsv3", "overlay", "virtio_net", "virtio_pci"}, append(more, imagetest.Regular("etc/name", name), imagetest.Regular("boot/name", name))...)
}

// bareImage is one of 12 MiB whose kernel has no NFS.
func bareImage(t *testing.T) v1.Image {
	return builtWith(t, []string{"virtio_net", "virtio_pci"}, imagetest.Regular("big", strings.Repeat("x", 12<<20)))
}

// builtWith is an image whose kernel has modules built in.
func builtWith(t *testing.T, modules []string, more ...*tar.Header) v1.Image {
	const dir = "lib/modules/6.1.0/"
	var builtin strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&builtin, "kernel/%s.ko\n", m)
	}
	return imagetest.Image(t, []v1.Layer{imagetest.GzipLayer(t, append(more,
		imagetest.Regular("boot/vmlinuz-6.1.0", boottest.Header("6.1.0")),
		imagetest.Regular(dir+"modules.dep", ""), imagetest.Regular(dir+"modules.alias", ""), imagetest.Regular(dir+"modules.builtin", builtin.String()),
	)...)}, "walt.node.models", "pc-x86-64")
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	store, err := badger.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	library, err := images.Open(t.TempDir(), store, journal.New(store, time.Now), images.KnownPlatforms(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	registry := imagetest.Serve(t, imagetest.NewRegistry())
	if err := library.SetRegistries([]images.Registry{{Label: "lab", URL: registry.URL}}); err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, registry: registry.URL, config: netboot.Config{Store: store}, ports: loopback{of: map[uint16]string{}}, told: make(chan string, 100), boots: map[nodes.Name]images.Image{}, images: map[string]images.Image{}}
	for name, img := range map[string]v1.Image{"red": bootable(t, "red"), "blue": bootable(t, "blue"), "hollow": imagetest.PCImage(t, "no kernel")} {
		f.add(library, name, img)
	}
	f.config = netboot.Config{
		Store: store, Lab: f, Library: library, Dir: filepath.Join(t.TempDir(), "boot"),
		Agent: func(arch string) ([]byte, error) { return []byte("agent for " + arch), nil },
		Trust: trusted(t), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	f.start()
	f.choose("one", "red")
	f.choose("two", "blue")
	return f
}

// add brings an image.
func (f *fixture) add(library *images.Library, name string, img v1.Image) {
	f.t.Helper()
	imagetest.Push(f.t, f.registry, "alice/"+name+":latest", img)
	link, err := images.ParseLink("lab:alice/" + name)
	if err != nil {
		f.t.Fatal(err)
	}
	brought, err := library.FetchLink(f.t.Context(), link, "", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.images[name] = brought
	f.put(brought)
}

// put writes the record of an image.
func (f *fixture) put(img images.Image) {
	f.t.Helper()
	if _, err := f.config.Store.Update(f.t.Context(), func(tx state.Tx) error { return images.Put(tx, img) }); err != nil {
		f.t.Fatal(err)
	}
}

// start starts a server, as after a kill of the one before.
func (f *fixture) start() {
	f.t.Helper()
	f.ports.mu.Lock()
	clear(f.ports.of)
	f.ports.mu.Unlock()
	f.Server = netboot.New(f.config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := f.Server
	go func() { done <- s.Serve(ctx, &f.ports) }()
	imagetest.Until(f.t, "it serves", func() bool { return f.ports.at(netboot.PortAgent) != "" })
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
}

func trusted(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmlSSmVCNrxVPIaDnvGnUKDb4DnRLJNMDPkQIyBGGfZ lab"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// from is an HTTP client, or a dialer, at the address of a machine.
func from(m netboot.Machine) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: m.IP.AsSlice()}, Timeout: 10 * time.Second}
}

// ask asks for instructions, and returns them or the status.
func (f *fixture) ask(m netboot.Machine, token string) (*instructions.Instructions, int) {
	f.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: from(m).DialContext, DisableKeepAlives: true}}
	r, err := client.Get("http://" + f.ports.at(netboot.PortHTTP) + "/boot/" + token)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, r.StatusCode
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	i, err := instructions.Parse(b)
	if err != nil {
		f.t.Fatal(err)
	}
	return i, r.StatusCode
}

// prepare prepares a boot, and returns it with its token.
func (f *fixture) prepare(m netboot.Machine) (netboot.Boot, string) {
	f.t.Helper()
	b, err := f.Prepare(f.t.Context(), m)
	if err != nil {
		f.t.Fatal(err)
	}
	_, token, _ := strings.Cut(b.CommandLine, "/boot/")
	token, _, _ = strings.Cut(token, " ")
	return b, token
}

// agent connects as the agent of a boot.
func (f *fixture) agent(m netboot.Machine, r instructions.Report) net.Conn {
	f.t.Helper()
	c, err := from(m).Dial("tcp4", f.ports.at(netboot.PortAgent))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	f.report(c, r)
	return c
}

func (f *fixture) report(c net.Conn, r instructions.Report) {
	f.t.Helper()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		f.t.Fatal(err)
	}
}

// closed wants the server to close the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var late net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &late) && late.Timeout() {
		t.Errorf("the connection goes on: %v", err)
	}
}

func report(i *instructions.Instructions, steps ...instructions.Step) instructions.Report {
	r := instructions.Report{Token: i.Token, Boot: i.Boot, Digest: i.Digest}
	for _, s := range steps {
		r.Steps = append(r.Steps, instructions.Begun{Step: s})
	}
	return r
}

// A boot is secret: it is for the machine at one address, with the token of this
// boot, until its agent has come; a restart of the server in between does no harm.
func TestInstructionsAreSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, old := f.prepare(one)
	_, token := f.prepare(one)
	_, other := f.prepare(two)
	for what, c := range map[string]struct {
		m     netboot.Machine
		token string
	}{
		"the boot before": {one, old}, "another machine's": {one, other}, "another machine": {two, token}, "none": {one, "x"},
	} {
		if _, status := f.ask(c.m, c.token); status != http.StatusForbidden {
			t.Errorf("%s: status %d", what, status)
		}
	}
	i, _ := f.ask(one, token)
	if i == nil || i.Host != "one" || i.Digest != f.images["red"].Digest || len(i.Root.NFS) != 1 || len(i.AuthorizedKeys) != 1 {
		t.Fatalf("%+v", i)
	}
	if again, _ := f.ask(one, token); again == nil { // the answer was lost
		t.Error("they are given once only")
	}
	restart := func() {
		f.start()
		if found, err := f.Resume(t.Context(), one); !found || err != nil {
			t.Fatal(found, err)
		}
	}
	restart()
	if again, _ := f.ask(one, token); again == nil || again.HostKey != i.HostKey || again.MachineID != i.MachineID || again.Boot != i.Boot {
		t.Error("after a restart they are others")
	}
	c := f.agent(one, report(i, instructions.Init))
	f.report(c, report(i, instructions.Init, instructions.Up))
	f.hears("one up at 127.0.0.2:22")
	if _, status := f.ask(one, token); status != http.StatusForbidden {
		t.Errorf("after the agent came: status %d", status)
	}
	restart()
	if _, status := f.ask(one, token); status != http.StatusForbidden {
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
	_, token := f.prepare(one)
	i, _ := f.ask(one, token)
	up := report(i, instructions.Up)
	up.Uptime = 12.5
	for what, bad := range map[string]instructions.Report{
		"no token":     {Boot: i.Boot},
		"another boot": {Token: i.Token, Boot: "x"},
	} {
		t.Log(what)
		closed(t, f.agent(one, bad))
	}
	closed(t, f.agent(two, up))
	c := f.agent(one, up)
	f.report(c, up)
	f.hears("one up at 127.0.0.2:22")
	down := report(i, instructions.Mounts)
	down.Failed = "no root"
	f.report(c, down)
	f.report(c, down)
	f.hears("one failed: no root")
	f.hears("one stopped at 127.0.0.2:22")

	again := f.agent(one, up) // it lost its connection, and the server does not know yet
	f.hears("one up at 127.0.0.2:22")
	closed(t, c)
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
	up.LEDs = 2
	f.report(again, up)
	imagetest.Until(t, "it has an LED", func() bool { return f.Blink("one", time.Minute) == nil })
	if o := order(); o.Blink != 60 || o.Clock != nil {
		t.Errorf("the order to blink: %+v", o)
	}
	hasty, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := f.Reboot(hasty, "one"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that does not begin reboots: %v", err)
	}
	if o := order(); o.Power != instructions.Reboot {
		t.Errorf("the order %+v", o)
	}
	began := make(chan error, 1)
	go func() { began <- f.PowerOff(t.Context(), "one") }() // ends with the report
	if o := order(); o.Power != instructions.Poweroff {
		t.Errorf("the order %+v", o)
	}
	up.Ending = instructions.Poweroff
	f.report(again, up)
	if err := <-began; err != nil {
		t.Error(err)
	}
	f.prepare(one)
	closed(t, again)
	if err := f.Reboot(t.Context(), "one"); !errors.Is(err, nodes.ErrNoAgent) {
		t.Errorf("an order to a machine without agent: %v", err)
	}
	long := f.agent(one, instructions.Report{Failed: strings.Repeat("x", 1<<17)})
	closed(t, long)
	if len(f.told) > 0 {
		t.Errorf("the lab was told %q", <-f.told)
	}
}

// The lab is told of each step of a boot once, and nothing by a machine that boots anew.
func TestSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.prepare(one)
	i, _ := f.ask(one, token)
	c := f.agent(one, report(i, instructions.Modules, instructions.Asking, instructions.Mounts))
	f.report(c, report(i, instructions.Mounts))
	f.report(c, report(i, instructions.Init))
	f.report(c, report(i, instructions.Up))
	f.hears("one up at 127.0.0.2:22")
	f.mu.Lock()
	got := strings.Join(f.steps, ", ")
	f.mu.Unlock()
	if want := "one image, one kernel, one instructions, one root, one init"; got != want {
		t.Errorf("the lab was told of %q, want %q", got, want)
	}
	late := f.agent(one, report(i, instructions.Init))
	f.choose("one", "hollow")
	if _, err := f.Prepare(t.Context(), one); err == nil {
		t.Error("hollow boots")
	}
	closed(t, late)
	other := report(i, instructions.Up)
	other.Digest = "sha256:other"
	closed(t, f.agent(one, other))
	if len(f.told) > 0 {
		t.Errorf("the lab was told %q", <-f.told)
	}
}

// A machine sees its own image, from kernel to root, whatever becomes of its name.
func TestMachinesSeeTheirOwnImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := func(name string) nfs.ID { return nfs.IDOf(content.Digest(f.images[name].Digest)) }
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
	before, _ := f.prepare(one)
	f.choose("one", "blue")
	if !sees(one, "red") || sees(one, "blue") || sees(two, "red") {
		t.Error("images are seen by the wrong ones")
	}
	after, _ := f.prepare(one)
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
	m := &meeting{Library: f.config.Library}
	f.Config.Library = m
	_, token := f.prepare(one)
	i, _ := f.ask(one, token)
	c := f.agent(one, report(i, instructions.Up))
	f.hears("one up at 127.0.0.2:22")
	if m.here.Load() != 1 {
		t.Errorf("%d images are held", m.here.Load())
	}
	f.Over(one.IP)
	closed(t, c)
	if _, found := f.Find("one"); found || m.here.Load() != 0 {
		t.Errorf("of a machine that is off %d images are held", m.here.Load())
	}
	f.Over(one.IP)
	if _, token = f.prepare(one); token == "" || m.here.Load() != 1 {
		t.Error("it does not come back")
	}
}

func TestImageThatCannotBoot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.choose("one", "hollow")
	if _, err := f.Prepare(t.Context(), one); err == nil || !strings.Contains(err.Error(), "it has no kernel") {
		t.Errorf("%v", err)
	}
	if tree, err := f.Tree(t.Context(), one.IP, nfs.IDOf(content.Digest(f.images["hollow"].Digest))); tree != nil || err != nil {
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
	small := netip.MustParsePrefix("10.0.0.0/29") // the server, five machines, everybody
	taken := map[netip.Addr]bool{netip.MustParseAddr("10.0.0.1"): true}
	for i := range 5 {
		mac := ethernet.MAC(fmt.Sprintf("52:54:00:00:00:%02d", i))
		ip, err := f.Lease(t.Context(), mac, small)
		if err != nil || taken[ip] || !small.Contains(ip) {
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
	if err := f.Forget(t.Context(), "52:54:00:00:00:02"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lease(t.Context(), "52:54:00:00:00:66", small); err != nil {
		t.Error(err)
	}
	if ip, err := f.Lease(t.Context(), "52:54:00:00:00:66", netip.MustParsePrefix("10.1.0.0/24")); err != nil || ip != netip.MustParseAddr("10.1.0.2") {
		t.Errorf("on another network: %v, %v", ip, err)
	}
}
