package boards_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"walt/netboot/boards"
	"walt/netboot/dhcp"
	"walt/netboot/tftp"
	"walt/nodes"
)

// The lab is told how far a board comes before it has asked what to boot, of the files that
// it does not get, and of an operating system that the server did not give it.
func TestStepsOfBoards(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	on := segment
	on.Loaders = t.TempDir()
	if err := os.WriteFile(filepath.Join(on.Loaders, "snponly.efi"), []byte("uefi"), 0o600); err != nil {
		t.Fatal(err)
	}
	hosts, _ := f.serves(nil, on, known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}})
	files := boards.Told(hosts)
	asks := func(c dhcp.Client) {
		t.Helper()
		c.MAC = one.MAC
		if _, ok := hosts.Host(t.Context(), c); !ok {
			t.Fatal("it gets no address")
		}
	}
	uefi := dhcp.Client{Class: "PXEClient:Arch:00007:UNDI:003000", Arch: []uint16{7}}
	ipxe := dhcp.Client{Class: "PXEClient:Arch:00007:UNDI:003010", Users: []string{"iPXE"}, Arch: []uint16{7}}
	load := func(name string, bytes int64) {
		t.Helper()
		file, err := files.Open(one.IP, name)
		if err != nil {
			return
		}
		file.Sent(bytes, time.Second)
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	asks(ipxe) // that of its network card
	asks(uefi)
	load("snponly.efi", 0) // a probe
	load("snponly.efi", 4)
	asks(ipxe)
	load("grubx64.efi", 0)
	asks(dhcp.Client{Class: "dhcpcd-9.4.1:Linux-6.1.0:x86_64:GenuineIntel", Name: "mine"})
	asks(uefi)
	load("../secret", 0)
	load("/walt/AAAABBBB/kernel", 0)
	want := []string{"one address", "one address", "one efi", "one chained", "one strayed", "one address"}
	if !slices.Equal(f.Steps(), want) {
		t.Errorf("the lab was told the steps %q, want %q", f.Steps(), want)
	}
	want = []string{
		"one sent 0 for efi", "one sent 4 for efi", "one refused TFTP grubx64.efi: neither its image nor [network] loaders has what Secure Boot starts; have the image hold shim-signed and grub-efi-amd64-signed of the distribution that signed its kernel, or switch Secure Boot off: help show hardware", "one refused TFTP ../secret: there is no such file",
		"one refused TFTP walt/.../kernel: it is of another boot, or the server failed to read it",
	}
	if !slices.Equal(f.Files(), want) {
		t.Errorf("the lab was told of the files %q, want %q", f.Files(), want)
	}
}

// A PC that takes a loader again and again and is never heard of then gets the one with
// drivers of its own, and keeps it when it is heard of with that.
func TestSilentLoader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	on := segment
	on.Loaders = t.TempDir()
	for _, name := range []string{"snponly.efi", "ipxe.efi"} {
		if err := os.WriteFile(filepath.Join(on.Loaders, name), []byte("uefi"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	devices := known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}}
	hosts, script := f.serves(nil, on, devices)
	files := boards.Told(hosts)
	boots := func(want string, runs bool) {
		t.Helper()
		uefi := dhcp.Client{MAC: one.MAC, Class: "PXEClient:Arch:00007:UNDI:003000", Arch: []uint16{7}}
		for range 2 { // DISCOVER and REQUEST
			if h, ok := hosts.Host(t.Context(), uefi); !ok || h.Loader != want {
				t.Errorf("it loads %q, %v, want %q", h.Loader, ok, want)
			}
		}
		file, err := files.Open(one.IP, want)
		if err != nil {
			t.Fatal(err)
		}
		file.Sent(4, time.Second)
		file.Close()
		if uefi.Users = []string{"iPXE"}; runs {
			hosts.Host(t.Context(), uefi)
		}
	}
	boots("snponly.efi", true)
	boots("snponly.efi", false)
	boots("snponly.efi", true)
	boots("snponly.efi", false)
	boots("snponly.efi", false)
	boots("ipxe.efi", true)
	boots("ipxe.efi", false)
	boots("ipxe.efi", false)
	boots("snponly.efi", true)

	d := devices[one.MAC]
	d.Own = &nodes.Settings{Loader: nodes.IPXE, Console: "ttyS1,9600"}
	devices[one.MAC] = d
	boots("ipxe.efi", true)
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/ipxe", nil)
	r.RemoteAddr = "127.0.0.2:1000"
	if script(w, r); !strings.Contains(w.Body.String(), " initrd=initrd console=tty0 panic=10 ") || !strings.Contains(w.Body.String(), " console=ttyS1,9600 || goto walt\ninitrd ") {
		t.Errorf("it is to do %q", w.Body)
	}
}

// Who asks for files again and again that are not for it does not fill the server's log.
func TestLogOfRefusedFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var log bytes.Buffer // read when all is over
	f.Next.Log = slog.New(slog.NewTextHandler(&log, nil))
	f.Start()
	hosts, _ := f.serves(nil, segment, known{})
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dial := func(to netip.AddrPort) (net.Conn, error) { return net.Dial("udp4", to.String()) }
	done := make(chan error, 1)
	go func() {
		done <- (&tftp.Server{Files: boards.Told(hosts), Dial: dial, Log: f.Log}).Serve(ctx, conn)
	}()
	client, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b := make([]byte, 100)
	for range 20 {
		if _, err := client.WriteTo([]byte("\x00\x01undionly.kpxe\x00octet\x00"), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := client.ReadFrom(b); err != nil || !strings.HasPrefix(string(b[:n]), "\x00\x05") {
			t.Fatalf("a stranger is answered %q, %v", b[:n], err)
		}
	}
	for i := range 50 { // in the name of others
		if _, err := boards.Told(hosts).Open(netip.AddrFrom4([4]byte{127, 0, 0, byte(100 + i)}), "undionly.kpxe"); err == nil {
			t.Error("a stranger gets a file")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "is the address of no device") {
		t.Errorf("the log has %d lines:\n%s", lines, &log)
	}
}
