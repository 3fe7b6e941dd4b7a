package netboot_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"walt/netboot"
	"walt/netboot/dhcp"
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
	hosts, _ := netboot.Boards(f.Server, nil, on, known{one.MAC: {Name: "one", MAC: one.MAC, Kind: nodes.Node, Model: "pc-x86-64"}})
	files := netboot.Told(hosts)
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
	f.mu.Lock()
	defer f.mu.Unlock()
	want := []string{"one address", "one address", "one loader", "one chained", "one strayed", "one address"}
	if !slices.Equal(f.steps, want) {
		t.Errorf("the lab was told the steps %q, want %q", f.steps, want)
	}
	want = []string{
		"one sent 0 for loader", "one sent 4 for loader", "one refused TFTP grubx64.efi: there is no such file", "one refused TFTP ../secret: there is no such file",
		"one refused TFTP walt/.../kernel: it is of another boot, or the server failed to read it",
	}
	if !slices.Equal(f.files, want) {
		t.Errorf("the lab was told of the files %q, want %q", f.files, want)
	}
}

// What a machine asks for in vain by HTTP and NFS is told of, without the secret of a boot.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, token := f.prepare(one)
	for _, path := range []string{"/boot/" + token + "x", "/vmlinuz", "/kernel/" + token} { // which it was given
		if r, _ := f.request(one, http.MethodGet, path, ""); r.StatusCode == http.StatusOK {
			t.Errorf("it gets %s", path)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	want := []string{
		"one refused HTTP /boot/...: it is of another boot, or was given already",
		"one refused HTTP /vmlinuz: there is no such file",
		"one refused HTTP /kernel/...: it is of another boot, or was given already",
	}
	if !slices.Equal(f.files, want) {
		t.Errorf("the lab was told of the files %q, want %q", f.files, want)
	}
}
