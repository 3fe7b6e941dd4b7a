// Package netboottest has what tests of booting stand on: a server of machines with some
// images, on loopback, and a lab that notes what it is told.
package netboottest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ed25519"
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

// Server is the address of the server, on loopback.
var Server = netip.MustParseAddr("127.0.0.1")

// One and Two are machines at two other addresses there.
var (
	One = machine("one", "52:54:00:00:00:01", "127.0.0.2")
	Two = machine("two", "52:54:00:00:00:02", "127.0.0.3")
)

func machine(n nodes.Name, mac ethernet.MAC, ip string) netboot.Machine {
	return netboot.Machine{Virtual: true, Name: n, MAC: mac, IP: netip.MustParseAddr(ip), Server: Server, Net: netip.MustParsePrefix("127.0.0.0/24"), Router: Server, DNS: Server}
}

// Fixture is a server of machines, and a lab that notes what it is told: One is to boot the
// image "red", and Two "blue". There is "hollow", too, which has no kernel.
type Fixture struct {
	*netboot.Server
	T      *testing.T
	Next   netboot.Config // what Start makes a server of
	Ports  Loopback
	Told   chan string // what Hears waits for
	Images map[string]images.Image

	library  *images.Library
	registry string

	mu       sync.Mutex
	boots    map[nodes.Name]images.Image // what nodes are to boot
	admitted map[nodes.Name][]string     // see Admit
	steps    []string
	files    []string
	wrong    map[string]string // on the network, by key
}

// Bootable is an image of which all that a machine needs is built into the kernel.
func Bootable(t *testing.T, name string, more ...*tar.Header) v1.Image {
	return BuiltWith(t, []string{"nfs", "nfsv3", "overlay", "virtio_net", "virtio_pci"}, append(more, imagetest.Regular("etc/name", name), imagetest.Regular("boot/name", name))...)
}

// BuiltWith is an image whose kernel has modules built in.
func BuiltWith(t *testing.T, modules []string, more ...*tar.Header) v1.Image {
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

// New starts the server of a fixture, which ends with the test.
func New(t *testing.T) *Fixture {
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
	f := &Fixture{T: t, library: library, registry: registry.URL, Told: make(chan string, 100), boots: map[nodes.Name]images.Image{}, admitted: map[nodes.Name][]string{}, Images: map[string]images.Image{}}
	f.Next = netboot.Config{
		Store: store, Lab: f, Library: library, Dir: filepath.Join(t.TempDir(), "boot"),
		Agent: func(arch string) ([]byte, error) { return []byte("agent for " + arch), nil },
		Trust: trusted(t), HostCA: HostCA(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	for name, img := range map[string]v1.Image{"red": Bootable(t, "red"), "blue": Bootable(t, "blue"), "hollow": imagetest.PCImage(t, "no kernel")} {
		f.Add(name, img)
	}
	f.Start()
	f.Choose("one", "red")
	f.Choose("two", "blue")
	return f
}

// Add brings an image of alice.
func (f *Fixture) Add(name string, img v1.Image) {
	f.T.Helper()
	imagetest.Push(f.T, f.registry, "alice/"+name+":latest", img)
	link, err := images.ParseLink("lab:alice/" + name)
	if err != nil {
		f.T.Fatal(err)
	}
	brought, err := f.library.FetchLink(f.T.Context(), link, "", nil)
	if err != nil {
		f.T.Fatal(err)
	}
	f.Images[name] = brought
	f.Put(brought)
}

// Put writes the record of an image.
func (f *Fixture) Put(img images.Image) {
	f.T.Helper()
	if _, err := f.Next.Store.Update(f.T.Context(), func(tx state.Tx) error { return images.Put(tx, img) }); err != nil {
		f.T.Fatal(err)
	}
}

// Start starts a server, as after a kill of the one before.
func (f *Fixture) Start() {
	f.T.Helper()
	f.Ports.mu.Lock()
	clear(f.Ports.of)
	f.Ports.mu.Unlock()
	f.Server = netboot.New(f.Next)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := f.Server
	go func() { done <- s.Serve(ctx, &f.Ports) }()
	imagetest.Until(f.T, "it serves", func() bool { return f.Ports.At(netboot.PortAgent) != "" })
	f.T.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.T.Error(err)
		}
	})
}

// HostCA is the key that signs the host keys of machines.
func HostCA() ssh.Signer {
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	return key
}

func trusted(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmlSSmVCNrxVPIaDnvGnUKDb4DnRLJNMDPkQIyBGGfZ lab"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// From is a dialer at the address of a machine.
func From(m netboot.Machine) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: m.IP.AsSlice()}, Timeout: 10 * time.Second}
}

// Ask asks for instructions, and returns them or the status.
func (f *Fixture) Ask(m netboot.Machine, token string) (*instructions.Instructions, int) {
	f.T.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: From(m).DialContext, DisableKeepAlives: true}}
	r, err := client.Get("http://" + f.Ports.At(netboot.PortHTTP) + "/boot/" + token)
	if err != nil {
		f.T.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, r.StatusCode
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	i, err := instructions.Parse(b)
	if err != nil {
		f.T.Fatal(err)
	}
	return i, r.StatusCode
}

// Prepared prepares a boot, and returns it with its token.
func (f *Fixture) Prepared(m netboot.Machine) (netboot.Boot, string) {
	f.T.Helper()
	b, err := f.Prepare(f.T.Context(), m)
	if err != nil {
		f.T.Fatal(err)
	}
	_, token, _ := strings.Cut(b.CommandLine, "/boot/")
	token, _, _ = strings.Cut(token, " ")
	return b, token
}

// AsAgent connects as the agent of a boot.
func (f *Fixture) AsAgent(m netboot.Machine, r instructions.Report) net.Conn {
	f.T.Helper()
	c, err := From(m).Dial("tcp4", f.Ports.At(netboot.PortAgent))
	if err != nil {
		f.T.Fatal(err)
	}
	f.T.Cleanup(func() { c.Close() })
	f.Report(c, r)
	return c
}

// Report has an agent report something.
func (f *Fixture) Report(c net.Conn, r instructions.Report) {
	f.T.Helper()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		f.T.Fatal(err)
	}
}

// Closed wants the server to close the connection.
func Closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var late net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &late) && late.Timeout() {
		t.Errorf("the connection goes on: %v", err)
	}
}

// ReportOf is what an agent reports of a boot at these steps.
func ReportOf(i *instructions.Instructions, steps ...instructions.Step) instructions.Report {
	r := instructions.Report{Token: i.Token, Boot: i.Boot, Digest: i.Digest}
	for _, s := range steps {
		r.Steps = append(r.Steps, instructions.Begun{Step: s})
	}
	return r
}

// Knows is what is known of an image on a device.
func (f *Fixture) Knows(image string, d nodes.Device) (o nodes.Outlook) {
	f.T.Helper()
	err := f.Look(f.T.Context(), f.Images[image], d.Model)
	if err == nil {
		err = f.Store.View(f.T.Context(), func(r state.Reader) (err error) {
			known := false
			if o, known, err = f.Known(r, f.Images[image], d); !known {
				f.T.Errorf("nothing is known of %s", image)
			}
			return err
		})
	}
	if err != nil {
		f.T.Fatal(err)
	}
	return o
}

// Unpacked is the content of a gzip file.
func Unpacked(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
