package netboot_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/ssh"

	"walt/images"
	"walt/images/imagetest"
	"walt/journal"
	"walt/netboot"
	"walt/netboot/boottest"
	"walt/netboot/instructions"
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
	one    = netboot.Machine{Virtual: true, Name: "one", MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("127.0.0.2"), Server: server, Net: netip.MustParsePrefix("127.0.0.0/24"), Router: server, DNS: server}
	two    = netboot.Machine{Virtual: true, Name: "two", MAC: "52:54:00:00:00:02", IP: netip.MustParseAddr("127.0.0.3"), Server: server, Net: netip.MustParsePrefix("127.0.0.0/24"), Router: server, DNS: server}
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
	files  []string                    // that were sent, or refused
	images map[string]images.Image
	wrong  map[string]string // on the network, by key
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

func (f *fixture) Stopped(n nodes.Name, addr string, failed error) {
	if failed != nil {
		f.Failed(n, failed)
	}
	f.told <- fmt.Sprintf("%s stopped at %s", n, addr)
}

func (f *fixture) Ended(n nodes.Name, how string, again bool) {
	f.told <- fmt.Sprintf("%s: %s, again %v", n, how, again)
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
	mu      sync.Mutex
	of      map[uint16]string
	prodded []string // connections, as "server machine"
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

func (l *loopback) Prod(server uint16, machine netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prodded = append(l.prodded, fmt.Sprintf("%d %s", server, machine))
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

func (f *fixture) Prepares(context.Context, nodes.Name, bool) {}

func (f *fixture) Sent(_ context.Context, n nodes.Name, step nodes.Step, bytes int64, _ time.Duration) {
	f.notes(fmt.Sprintf("%s sent %d for %s", n, bytes, step))
}

func (f *fixture) Refused(_ context.Context, n nodes.Name, file, why string) {
	f.notes(fmt.Sprintf("%s refused %s: %s", n, file, why))
}

func (f *fixture) Strayed(ctx context.Context, n nodes.Name) { f.Reached(ctx, n, "strayed") }

// notes notes something that the lab was told of files.
func (f *fixture) notes(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = append(f.files, what)
}

func (f *fixture) Troubled(_ context.Context, key string, t nodes.Trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wrong == nil {
		f.wrong = map[string]string{}
	}
	f.wrong[key] = strings.TrimSpace(string(t.Node) + " " + t.Text)
}

func (f *fixture) Calmed(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.wrong, key)
}

// worries are what is wrong on the network.
func (f *fixture) worries() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.wrong)
}

func (f *fixture) Itself(_ context.Context, n nodes.Name, m images.Model) error {
	f.told <- fmt.Sprintf("%s reports itself as %s", n, m)
	return nil
}
